"""An interrupt (Ctrl-C, a test's timeout) at any instant of a call harms nobody."""

from __future__ import annotations

import gc
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from statekeep.backend import Backend
from statekeep.errors import LeaseLost, VersionConflict
from statekeep.model import Put
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, commit

ROUNDS = 60
LONGEST = 0.004
"""Seconds until the interrupt comes: enough for some calls."""

MOST_SWALLOWED = ROUNDS // 6
"""Python itself drops an exception that comes in a destructor; more than this is a habit."""


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
                with suppress(LeaseLost):  # scheduled again by a call that was interrupted
                    storage.deferred.acknowledge(message)
            list(storage.values.scan(prefix))

        def between() -> None:
            self.in_threads(work)

        interrupt_often(work, between)

    def test_interrupts_leave_no_transaction_half_done(self, storage: Storage, prefix: str) -> None:
        """Each is there as a whole or not at all, and those that returned are there."""
        a, b = prefix + "a", prefix + "b"
        acknowledged = 0

        def read() -> dict[str, tuple[int, int]]:
            entries = storage.values.get_many([a, b])
            found = {key: (int(entry.value), entry.version) for key, entry in entries.items()}
            assert not storage.capabilities.snapshot_reads or len(
                {value for value, _ in found.values()}
            ) == bool(found), found
            return found

        def work() -> None:
            nonlocal acknowledged
            found = read()
            number = max((value for value, _ in found.values()), default=0) + 1
            # With a condition: what was sent before an interrupt may yet come after it.
            with suppress(VersionConflict):
                with storage.transaction() as tx:
                    for key in (a, b):
                        tx.put(key, b"%d" % number, expected=found.get(key, (0, 0))[1])
                acknowledged = number

        def between() -> None:
            assert all(value >= acknowledged for value, _ in read().values()), acknowledged
            assert not acknowledged or len(read()) == 2

        interrupt_often(work, between)

    def test_interrupts_never_show_another_calls_answer(
        self, backend: Backend, prefix: str
    ) -> None:
        """An answer that nobody waits for any more is not taken for the next call's."""
        keys = [f"{prefix}{number}" for number in range(50)]
        commit(backend, *(Put(key, key.encode()) for key in keys))

        def work() -> None:
            for key in keys:
                assert backend.get_many((key,))[key].value == key.encode()

        interrupt_often(work, work)


def interrupt_often(work: Callable[[], object], between: Callable[[], object]) -> None:
    """Does the work over and over, interrupts it at random moments, and looks after each."""
    swallowed = 0
    for _ in range(ROUNDS):
        with suppress(Interrupted), _interrupt(random.uniform(0, LONGEST)) as over:
            while not over():
                work()
            swallowed += 1
        between()
    gc.collect()  # what an interrupt lost is warned of here, where it is expected
    assert swallowed <= MOST_SWALLOWED, f"{swallowed} of {ROUNDS} interrupts were swallowed"


@contextmanager
def _interrupt(delay: float) -> Iterator[Callable[[], bool]]:
    """Raises `Interrupted` in the main thread after so many seconds, and waits for that."""

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
        yield lambda: not timer.is_alive()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
