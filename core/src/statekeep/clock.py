"""Times as whole microseconds since 1970-01-01 UTC, the unit in which every backend stores them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MAX_MICROS = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


def now_micros() -> int:
    """The clock of this machine in microseconds: the "server's clock" of the embedded backends."""
    return time.time_ns() // 1000


def to_micros(moment: datetime) -> int:
    """An aware datetime as microseconds, exactly (no floating point on the way)."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """Microseconds as an aware datetime in UTC; the inverse of `to_micros`."""
    return EPOCH + timedelta(microseconds=micros)


def duration_micros(duration: timedelta) -> int:
    """A duration in whole microseconds."""
    return duration // MICROSECOND


def later(now: int, delay: timedelta) -> int:
    """`now` plus `delay` in microseconds, at most the last moment a datetime can hold."""
    return min(now + duration_micros(delay), MAX_MICROS)


def resolve_due(due: datetime | timedelta, now: int) -> int:
    """When a message falls due, in microseconds: a timedelta counts from `now`."""
    return later(now, due) if isinstance(due, timedelta) else to_micros(due)
