"""What a process did with its storage so far, and what it holds: told without asking the store.

A snapshot is whole in itself: two of them, taken a while apart, give what happened between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from attrs import field, fields_dict, frozen

from statekeep.cache import CacheStats

STEP = 2**0.25
"""How much wider a bucket is than the one before: a quantile is half a step, 9 %, off at most."""

BOUNDS: tuple[float, ...] = tuple(1e-6 * STEP**power for power in range(-8, 105))
"""The upper bounds of the buckets of calls' times in seconds, from 0.25 µs to 67 s."""

OCTAVE = 4
"""Every so many bounds a time doubles."""


@frozen(kw_only=True)
class PoolStats:
    """The connections of this process.

    Attributes:
        in_use: lent to callers now.
        idle: open, and waiting for one.
        waiting: callers that wait for a connection.
        limit: how many there can be; None where there is no bound.
        created: connections opened so far.
        closed: of these, those that were closed again.
        failed: attempts to connect that failed.
        waits: callers that had to wait so far.
        wait_timeouts: of these, those that waited in vain.
        wait_seconds: how long all of them waited together.
    """

    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    limit: int | None = None
    created: int = 0
    closed: int = 0
    failed: int = 0
    waits: int = 0
    wait_timeouts: int = 0
    wait_seconds: float = 0.0


def total(pools: Iterable[PoolStats]) -> PoolStats:
    """Several pools as one; without a limit where one of them has none."""
    several = list(pools)
    sums = {
        name: sum(getattr(each, name) for each in several)
        for name in fields_dict(PoolStats)
        if name != "limit"
    }
    limits = [each.limit for each in several]
    return PoolStats(limit=None if None in limits else sum(filter(None, limits)), **sums)


@frozen(kw_only=True)
class CompressionStats:
    """Bytes of values and payloads before and after compression, envelopes included.

    Attributes:
        written: as callers wrote them.
        written_stored: the same as they were sent to the store.
        read: as callers got them.
        read_stored: the same as they came from the store.
    """

    written: int = 0
    written_stored: int = 0
    read: int = 0
    read_stored: int = 0


@frozen(kw_only=True)
class CallStats:
    """The calls of one operation.

    Attributes:
        count: how many have ended, with whatever outcome.
        seconds: what all of them took together.
        slowest: what the slowest one took, in seconds; since the beginning, also in a difference.
        records: keys asked for, operations committed, messages claimed, records scanned.
        bytes_read: of the values, members and payloads that came back.
        bytes_written: of the values, members and payloads that were sent.
        errors: by the name of the error's class, how many calls (or transactions, where several
            travel together) ended with it. A condition that did not hold is among them:
            `VersionConflict`, `LeaseLost`.
        buckets: how many calls took at most so long as the bound of the same index in `BOUNDS`, and
            longer than the bound before it; the last one is of those that took longer than any.
    """

    count: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    records: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    errors: Mapping[str, int] = field(factory=dict)
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)

    @property
    def mean(self) -> float:
        """Seconds a call; 0 where there was none."""
        return self.seconds / self.count if self.count else 0.0

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return self.quantile(0.5)

    @property
    def p95(self) -> float:
        """What 95 of 100 calls took at most, in seconds."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float:
        """What 99 of 100 calls took at most, in seconds."""
        return self.quantile(0.99)

    def quantile(self, part: float) -> float:
        """What this part of all calls took at most, in seconds, within 9 %; 0 without calls."""
        rank, below = part * self.count, 0
        for index, count in enumerate(self.buckets):
            below += count
            if count and below >= rank:
                middle = BOUNDS[index] / STEP**0.5 if index < len(BOUNDS) else self.slowest
                return min(middle, self.slowest)
        return 0.0

    def since(self, earlier: CallStats) -> CallStats:
        """What happened after an earlier snapshot of the same operation."""
        errors = {
            name: count - earlier.errors.get(name, 0)
            for name, count in self.errors.items()
            if count > earlier.errors.get(name, 0)
        }
        buckets = zip(self.buckets, earlier.buckets, strict=True)
        return CallStats(
            count=self.count - earlier.count,
            seconds=self.seconds - earlier.seconds,
            slowest=self.slowest,
            records=self.records - earlier.records,
            bytes_read=self.bytes_read - earlier.bytes_read,
            bytes_written=self.bytes_written - earlier.bytes_written,
            errors=errors,
            buckets=tuple(later - before for later, before in buckets),
        )


@frozen(kw_only=True)
class Usage:
    """What this process did and holds; counters begin when the storage is opened.

    Attributes:
        pool: the connections, where there are any.
        calls: by operation: `get` and `get_many`, `put`, `delete`, `transaction`, ...
        retries: how often `values.update` began again, as another writer had come between.
        compression: what compression gained; None where nothing is put into envelopes.
        caches: the caches' counters, by `key_value` and `key_set`, where there are any.
    """

    pool: PoolStats = PoolStats()
    calls: Mapping[str, CallStats] = field(factory=dict)
    retries: int = 0
    compression: CompressionStats | None = None
    caches: Mapping[str, CacheStats] = field(factory=dict)


def bucket(seconds: float) -> int:
    """The index of the bucket that a call of this length belongs to."""
    return bisect_left(BOUNDS, seconds)
