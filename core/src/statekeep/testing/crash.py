"""Crashes: a writer killed at any instant leaves what was acknowledged, and no half of the rest."""

from __future__ import annotations

import multiprocessing
import random
import time
from typing import TypeAlias

import pytest

from statekeep.backend import Backend
from statekeep.model import Entry
from statekeep.storage import Storage
from statekeep.testing import workers
from statekeep.testing.children import START_SECONDS, start, stop
from statekeep.testing.support import Kit, Opener


def run_and_kill(opener: Opener, prefix: str, first: int, seconds: float) -> int:
    """Lets a process commit from `first` on, kills it after a while; the last number it sent."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = start(workers.commit_until_killed, opener, prefix, first, theirs)
    theirs.close()
    last = first - 1
    try:
        if ours.poll(START_SECONDS):
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0 and ours.poll(left):
                last = int(ours.recv_bytes())
        process.kill()
        while True:  # what it had sent before it died is still in the pipe
            last = int(ours.recv_bytes())
    except (EOFError, OSError):
        return last
    finally:
        ours.close()
        stop(process)


Left: TypeAlias = tuple[Entry | None, dict[str, bytes], set[int], set[int]]


def read(storage: Storage, prefix: str) -> Left:
    """What the transactions left: the last number, values by key, members, ids of messages."""
    return (
        storage.values.get(prefix + "last"),
        {key: entry.value for key, entry in storage.values.scan(prefix + "value/")},
        {int(member) for member in storage.sets.members(prefix + "set")},
        {int(message.id) for message in storage.deferred.scan(prefix + "queue")},
    )


def verify(storage: Storage, prefix: str, acknowledged: int) -> int:
    """Checks that the store holds transactions 0 to n whole, n at least as acknowledged; n."""
    found = read(storage, prefix)
    # What the writer had sent before it died, a server may apply only now, between two reads.
    while (again := read(storage, prefix)) != found:
        found = again
    last, values, members, messages = found
    numbers = {int(key.rpartition("/")[2]) for key in values}
    assert numbers == set(range(len(numbers))), "an earlier transaction is missing"
    assert len(numbers) > acknowledged, f"{acknowledged} was acknowledged and is lost"
    assert numbers == members == messages, "half a transaction is left"
    assert last is not None and int(last.value) == max(numbers)
    for key, value in values.items():
        assert value == b"%d " % int(key.rpartition("/")[2]) * 500, f"{key} is damaged"
    return max(numbers)


class CrashTests(Kit):
    """`capabilities.durable`, and section 3.5 of the contract.

    Attributes:
        crashes: how often the writer is killed.
    """

    crashes: int = 5

    @pytest.fixture
    def durable(self, opener: Opener) -> Opener:
        """The opener, where the backend declares to be durable."""
        backend: Backend = opener()
        is_durable = backend.capabilities.durable
        backend.close()
        if not is_durable:
            pytest.skip("durable is not declared")
        return opener

    def test_crash_of_a_writer_loses_nothing_acknowledged(
        self, durable: Opener, prefix: str
    ) -> None:
        """Killed with SIGKILL at random, again and again: all acknowledged is there, whole."""
        following = 0
        for _ in range(self.crashes):
            acknowledged = run_and_kill(durable, prefix, following, random.uniform(0.01, 0.3))
            assert acknowledged >= following, "the writer died before it was killed"
            with Storage(durable()) as storage:
                following = verify(storage, prefix, acknowledged) + 1

    def test_crash_leaves_the_store_writable(self, durable: Opener, prefix: str) -> None:
        """After a crash every kind can be written at once: no lock is left behind."""
        last = run_and_kill(durable, prefix, 0, 0.1)
        with Storage(durable()) as storage:
            with storage.transaction() as tx:
                tx.put(prefix + "after", b"")
                tx.add(prefix + "set", b"after")
                tx.cancel(prefix + "queue", "0")
            assert last >= 0
            assert storage.values.get(prefix + "after") is not None
            assert storage.values.delete(f"{prefix}value/{0:06}")
