"""Several claimers of one queue: a message has one holder at a time, and none is forgotten."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest

from statekeep.backend import Backend
from statekeep.errors import LeaseLost, VersionConflict
from statekeep.model import Schedule
from statekeep.storage import Storage
from statekeep.testing import workers
from statekeep.testing.children import run_processes
from statekeep.testing.support import HOUR, PAST, Kit, Opener, commit

MESSAGES = 120
CLAIMERS = 4


def fill(backend: Backend, queue: str, count: int) -> list[str]:
    """Schedules messages that are due; their ids, sorted."""
    ids = sorted(f"{number:04}" for number in range(count))
    commit(backend, *(Schedule(queue, id, PAST) for id in ids))
    return ids


class ClaimsTests(Kit):
    """Section 3.8 of the contract, for claims at the same time."""

    def test_claims_of_threads_never_share_a_message(self, storage: Storage, prefix: str) -> None:
        """Threads that empty a queue together get every message once between them."""
        queue = prefix + "queue"
        ids = fill(storage.backend, queue, MESSAGES)

        def claimer() -> list[str]:
            taken: list[str] = []
            while found := storage.deferred.claim(queue, limit=3, lease=HOUR):
                taken += [message.id for message in found]
            return taken

        taken = self.in_threads(*[claimer] * CLAIMERS)
        assert sorted(id for one in taken for id in one) == ids

    def test_claims_of_processes_never_share_a_message(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """Nor do processes."""
        if not storage.capabilities.shared:
            pytest.skip("shared is not declared")
        queue = prefix + "queue"
        ids = fill(storage.backend, queue, MESSAGES)
        taken = run_processes(workers.claim_all, [(opener, queue)] * 3, self.patience)
        assert sorted(id for one in taken for id in one) == ids

    def test_claims_and_acknowledgements_lose_nothing(self, storage: Storage, prefix: str) -> None:
        """Workers with leases far too short do the work of each message exactly once.

        Each acknowledges in the transaction that records the work: who lost the lease in between
        records nothing, and the message comes again.
        """
        queue, done = prefix + "queue", Counter[str]()
        ids = fill(storage.backend, queue, 40)
        lock = threading.Lock()

        def worker() -> None:
            lease = timedelta(milliseconds=2)
            while list(storage.deferred.scan(queue)):
                for message in storage.deferred.claim(queue, limit=4, lease=lease):
                    try:
                        with storage.transaction() as tx:
                            tx.acknowledge(message)
                            tx.put(f"{prefix}done/{message.id}", b"", expected=0)
                    except (LeaseLost, VersionConflict) as error:
                        assert error.lost, "only who lost the lease finds the work done"
                        lease *= 1.3  # so that a slow store gets somewhere in the end
                        continue
                    with lock:
                        done[message.id] += 1

        self.in_threads(*[worker] * CLAIMERS)
        assert done == Counter(ids)
        assert len(list(storage.values.scan(prefix + "done/"))) == len(ids)

    def test_claims_race_with_cancellation(self, storage: Storage, prefix: str) -> None:
        """A message is either cancelled or acknowledged, never both and never neither."""
        queue = prefix + "queue"
        ids = fill(storage.backend, queue, 60)

        def cancel() -> set[str]:
            return {id for id in reversed(ids) if storage.deferred.cancel(queue, id)}

        def work() -> set[str]:
            acknowledged: set[str] = set()
            while found := storage.deferred.claim(queue, limit=2, lease=HOUR):
                for message in found:
                    try:
                        storage.deferred.acknowledge(message)
                    except LeaseLost:
                        continue
                    acknowledged.add(message.id)
            return acknowledged

        cancelled, acknowledged = self.in_threads(cancel, work)
        assert not cancelled & acknowledged
        assert cancelled | acknowledged == set(ids)
        assert list(storage.deferred.scan(queue)) == []
