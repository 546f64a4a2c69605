"""An interrupt (Ctrl-C, a test's timeout) at any instant of a call harms nobody."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from statekeep.backend import Backend
from statekeep.model import Put
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, commit

ROUNDS = 60
LONGEST = 0.004
"""Seconds until the interrupt comes: enough for some calls."""


class Interrupted(BaseException):
    """What the signal raises, as Ctrl-C raises `KeyboardInterrupt`."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class InterruptsTests(Kit):
    """Section 3.10 of the contract, where the failure comes from outside.

    A connection lost in mid-call may be closed by the garbage collector, with its warning.
    """

    def test_interrupts_leave_the_storage_usable(self, storage: Storage, prefix: str) -> None:
        """After each, other threads can read and write, and no lock or connection is lost."""
        key, queue = prefix + "key", prefix + "queue"

        def work() -> None:
            with storage.transaction() as tx:
                tx.put(key, b"value")
                tx.add(key, b"member")
                tx.schedule(queue, "id", due=PAST)
            storage.values.get(key)
            storage.values.put(key, b"alone")
            for message in storage.deferred.claim(queue, lease=HOUR):
                storage.deferred.acknowledge(message)
            list(storage.values.scan(prefix))

        for _ in range(ROUNDS):
            interrupted(work)
            self.in_threads(work)

    def test_interrupts_leave_no_transaction_half_done(self, storage: Storage, prefix: str) -> None:
        """Each is there as a whole or not at all, and those that returned are there."""
        a, b = prefix + "a", prefix + "b"
        acknowledged = 0

        def work() -> None:
            nonlocal acknowledged
            while True:
                with storage.transaction() as tx:
                    tx.put(a, b"%d" % (acknowledged + 1))
                    tx.put(b, b"%d" % (acknowledged + 1))
                acknowledged += 1

        for _ in range(ROUNDS):
            interrupted(work)
            found = storage.values.get_many([a, b])
            values = {int(entry.value) for entry in found.values()} or {0}
            assert values <= {acknowledged, acknowledged + 1}
            if storage.capabilities.snapshot_reads:
                assert len(values) == 1 and len(found) in (0, 2)
            acknowledged = max(values)

    def test_interrupts_never_show_another_calls_answer(
        self, backend: Backend, prefix: str
    ) -> None:
        """An answer that nobody waits for any more is not taken for the next call's."""
        keys = [f"{prefix}{number}" for number in range(50)]
        commit(backend, *(Put(key, key.encode()) for key in keys))

        def work() -> None:
            while True:
                for key in keys:
                    assert backend.get_many((key,))[key].value == key.encode()

        for _ in range(ROUNDS):
            interrupted(work)


def interrupted(work: Callable[[], object]) -> None:
    """Runs it in the main thread, with an interrupt at a random moment within it, or just after."""
    delay = random.uniform(0, LONGEST)
    try:
        with _interrupt(delay):
            work()
            threading.Event().wait(LONGEST * 10)
    except Interrupted:
        return
    pytest.fail("the interrupt was swallowed")


@contextmanager
def _interrupt(delay: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise Interrupted

    target = threading.main_thread()
    if threading.current_thread() is not target or target.ident is None:
        pytest.fail("signals reach the main thread only: run pytest there")
    identity = target.ident
    timer = threading.Timer(delay, lambda: signal.pthread_kill(identity, signal.SIGUSR1))
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        timer.start()
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
