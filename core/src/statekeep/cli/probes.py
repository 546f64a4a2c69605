"""Probes: every operation tried on records of its own, timed, and cleaned up."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from statistics import median
from time import perf_counter, thread_time
from types import TracebackType

from attrs import field, frozen

from statekeep.errors import StorageError
from statekeep.model import DeferredMessage
from statekeep.storage import Storage

PREFIX = "statekeep-check-"
LIFE = timedelta(minutes=10)
"""A probe value that could not be cleaned up is gone after this, where the store has expiry."""

LEASE = timedelta(minutes=1)
VALUE = bytes(range(256)) * 4
MEMBER = b"member"
TIMER = "timer"
CLAIMED = "claimed"
LATER = timedelta(hours=1)


@frozen
class Step:
    """An operation to time, and what must come before each try."""

    operation: str
    action: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


@frozen
class Timing:
    """How long an operation takes: medians of several tries, in seconds.

    Attributes:
        operation: what was tried.
        seconds: until it was done.
        busy: of that, how long this thread worked, and did not wait.
    """

    operation: str
    seconds: float
    busy: float


@frozen
class Probe:
    """Records of one check, under a name that nobody else has; removed when the block ends.

    The name is a hash tag, so a cluster keeps them together and can commit them at once. A
    read-only backend is only read.
    """

    storage: Storage
    name: str = field(factory=lambda: f"{{{PREFIX}{uuid.uuid4().hex}}}")

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.storage.capabilities.read_only:
            return
        try:
            self._clean()
        except StorageError as failure:
            if error is None:
                raise
            error.add_note(f"records named {self.name} may be left: {failure}")

    def timings(self, rounds: int) -> Iterator[Timing]:
        """Tries every operation `rounds` times."""
        steps = self._reads()
        if not self.storage.capabilities.read_only:
            self._put()
            self._add()
            steps += self._writes()
        yield from (self._timed(step, rounds) for step in steps)

    def _clean(self) -> None:
        with self.storage.transaction() as transaction:
            transaction.delete(self._value)
            transaction.remove(self._set, MEMBER)
            transaction.cancel(self._queue, TIMER)
            transaction.cancel(self._queue, CLAIMED)

    @property
    def _value(self) -> str:
        return f"{self.name}/value"

    @property
    def _set(self) -> str:
        return f"{self.name}/set"

    @property
    def _queue(self) -> str:
        return f"{self.name}/queue"

    def _reads(self) -> list[Step]:
        values, sets = self.storage.values, self.storage.sets
        several = [self._value, *(f"{self._value}/{number}" for number in range(9))]
        return [
            Step("ping", self.storage.ping),
            Step("get", lambda: values.get(self._value)),
            Step("get 10", lambda: values.get_many(several)),
            Step("set members", lambda: sets.members(self._set)),
            Step("set contains", lambda: sets.contains(self._set, MEMBER)),
        ]

    def _writes(self) -> list[Step]:
        deferred = self.storage.deferred
        version = 0
        held: list[DeferredMessage] = []

        def put() -> None:
            nonlocal version
            version = self._put()

        def claim() -> None:
            held[:] = deferred.claim(self._queue, lease=LEASE)

        def schedule_and_claim() -> None:
            self._schedule(CLAIMED, timedelta(0))
            claim()

        return [
            Step("put", self._put),
            Step("conditional put", lambda: self._put(version), prepare=put),
            Step("delete", lambda: self.storage.values.delete(self._value), prepare=put),
            Step("set add", self._add, prepare=self._remove),
            Step("set remove", self._remove, prepare=self._add),
            Step("schedule", lambda: self._schedule(TIMER)),
            Step("transaction", self._transaction),
            Step("claim", claim, prepare=lambda: self._schedule(CLAIMED, timedelta(0))),
            Step(
                "acknowledge",
                lambda: deferred.acknowledge(held[0]),
                prepare=schedule_and_claim,
            ),
        ]

    def _put(self, expected: int | None = None) -> int:
        life = LIFE if self.storage.capabilities.expiry else None
        return self.storage.values.put(self._value, VALUE, expected=expected, ttl=life)

    def _add(self) -> None:
        self.storage.sets.add(self._set, MEMBER)

    def _remove(self) -> None:
        self.storage.sets.remove(self._set, MEMBER)

    def _schedule(self, id: str, due: timedelta = LATER) -> None:
        self.storage.deferred.schedule(self._queue, id, due=due, payload=VALUE)

    def _transaction(self) -> None:
        """A workflow's step: its state, a tag and its timer."""
        with self.storage.transaction() as transaction:
            transaction.put(self._value, VALUE)
            transaction.add(self._set, MEMBER)
            transaction.schedule(self._queue, TIMER, due=LATER, payload=VALUE)

    @staticmethod
    def _timed(step: Step, rounds: int) -> Timing:
        taken: list[float] = []
        worked: list[float] = []
        for _ in range(rounds):
            step.prepare()
            started, work = perf_counter(), thread_time()
            step.action()
            worked.append(thread_time() - work)
            taken.append(perf_counter() - started)
        return Timing(step.operation, median(taken), median(worked))
