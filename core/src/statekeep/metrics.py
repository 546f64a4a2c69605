"""Counts and times calls, cheaply enough to do it always: some tenths of a microsecond a call.

A call leaves a tuple in a queue, which is one atomic step; whoever finds the queue long, or asks
for the numbers, sorts what is in it into a histogram. Who finds that another thread does so leaves
it to that one: no call waits for a lock.

A signal handler or a finalizer may make calls, or ask for the numbers, in the middle of all this
and in the same thread. So the lock can be taken again, and each step of counting is one that
nothing comes into: `+=` of a number at hand is one step for the interpreter.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias, TypeVar

from statekeep import fork
from statekeep.naming import BATCH, COMMITS, TRANSACTION
from statekeep.usage import BOUNDS, CallStats

T = TypeVar("T")

Measured: TypeAlias = tuple[float, int, int]
"""Seconds, records, bytes."""

MOST_QUEUED = 1000
"""Measurements that are kept as they are."""

PATIENCE = 1.0
"""Seconds that who asks for the numbers waits for a thread that sorts them, at most: that one may
be in a signal handler which waits for the one that asks. The numbers are a little behind then."""


class Series:
    """The calls of one operation.

    Attributes:
        queued: measurements that are not counted yet. Append to it, then call `settle` where it
            holds more than `MOST_QUEUED`.
    """

    __slots__ = (
        "_buckets",
        "_bytes",
        "_errors",
        "_failures",
        "_lock",
        "_records",
        "_seconds",
        "_slowest",
        "_writes",
        "queued",
    )

    def __init__(self, *, writes: bool) -> None:
        self._writes = writes
        self.clear()

    def clear(self) -> None:
        """Begins anew, with a lock of its own."""
        self._lock = threading.RLock()
        self.queued: deque[Measured] = deque()
        self._failures: deque[tuple[str, int]] = deque()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._records = self._bytes = 0
        self._seconds = self._slowest = 0.0
        self._errors: dict[str, int] = {}

    def add(self, seconds: float, records: int, bytes: int = 0) -> None:
        """A call that has ended."""
        self.queued.append((seconds, records, bytes))
        if len(self.queued) > MOST_QUEUED:
            self.settle()

    def failed(self, error: str, count: int = 1) -> None:
        """A call, or so many transactions of one, ended with an error of this name."""
        self._failures.append((error, count))
        if len(self._failures) > MOST_QUEUED:
            self.settle()

    def settle(self) -> None:
        """Sorts what is queued into the histogram, or leaves it to the thread that does so now."""
        self._settled(0.0, lambda: None)

    def stats(self) -> CallStats:
        """The numbers so far."""
        return self._settled(PATIENCE, self._told)

    def _settled(self, patience: float, then: Callable[[], T]) -> T:
        """Sorts, where the lock can be had within so many seconds; the answer of `then`."""
        lock = self._lock  # a fork in the middle of this renews it
        try:  # the lock is taken within: an interrupt (Ctrl-C) may come after any call
            if lock.acquire(timeout=patience):
                self._settle()
            return then()
        finally:
            try:  # noqa: SIM105  # `suppress` is a call, after which an interrupt may come
                lock.release()
            except RuntimeError:  # it was not taken
                pass

    def _told(self) -> CallStats:
        buckets = tuple(self._buckets)
        return CallStats(
            count=sum(buckets),
            seconds=self._seconds,
            slowest=self._slowest,
            records=self._records,
            bytes_read=0 if self._writes else self._bytes,
            bytes_written=self._bytes if self._writes else 0,
            errors=self._errors.copy(),
            buckets=buckets,
        )

    def _settle(self) -> None:
        """Under the lock. A queue may be emptied by a call that comes into this."""
        queued, failures = self.queued, self._failures
        with suppress(IndexError):
            for _ in range(len(queued)):
                seconds, records, size = queued.popleft()
                index = bisect_left(BOUNDS, seconds)
                self._buckets[index] += 1
                self._seconds += seconds
                self._records += records
                self._bytes += size
                if seconds > self._slowest:
                    self._slowest = seconds
        with suppress(IndexError):
            for _ in range(len(failures)):
                error, count = failures.popleft()
                self._errors.setdefault(error, 0)
                self._errors[error] += count


READS = (
    *("get", "get_many", "members", "members_many", "page", "contains", "claim", "scan"),
    *("messages_many", "ping", "stats", "purge"),
)
"""What calls that read are counted as; with one key `get` and `members`, else the other two."""

WRITES = (*COMMITS.values(), TRANSACTION, BATCH)
"""One operation that is committed alone has its own name, several together are a `transaction`,
and several transactions in one call, as `statekeep.aio` sends them, a `batch`."""

TASK_READ, TASK_WRITE, TASK_OTHER = "task_read", "task_write", "task_other"
"""What tasks of `statekeep.aio` waited for, from the call to its answer: the time in a queue and
what travelled with it are in it. What the store itself took is counted beside it as any call is."""

TASKS = (TASK_READ, TASK_WRITE, TASK_OTHER)


class Recorder:
    """The calls of one storage, by operation; a forked child begins at zero.

    Attributes:
        series: by operation.
        retries: how often `values.update` began again.
    """

    def __init__(self) -> None:
        self.series: Mapping[str, Series] = {
            name: Series(writes=name in WRITES) for name in (*READS, *WRITES, *TASKS)
        }
        self.retries = 0
        fork.register(self)

    def retried(self) -> None:
        """An update begins again, as another writer had come between."""
        self.retries += 1

    def calls(self) -> dict[str, CallStats]:
        """The numbers of every operation that was called."""
        found = {name: each.stats() for name, each in self.series.items()}
        return {name: each for name, each in found.items() if each.count}

    def after_fork(self) -> None:
        """What the parent did is not the child's, and a thread of the parent may hold a lock."""
        self.retries = 0
        for each in self.series.values():
            each.clear()
