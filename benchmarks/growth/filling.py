"""Filling a storage through the API that everybody uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from attrs import frozen
from statekeep import Storage

from benchmarks.workload import BATCH, SHORT, key

Add: TypeAlias = Callable[[Storage, Sequence[int]], None]

SET = "tag/all"
QUEUE = "timers"
MOST = 1_000_000
"""Members of the set, and messages of the queue; there are more keys."""

RUN = 1_000_000
"""Records that are sorted before they are written, as whoever loads many does: in no order, each
commit changes as many pages of an index as it has records, and SQLite writes each of them twice."""

START = datetime(2020, 1, 1, tzinfo=UTC)
"""When the first message is due; the others follow by a second each."""


def members_beside(keys: int) -> int:
    """How many members the set has, and messages the queue, beside so many keys."""
    return min(keys, MOST)


@frozen
class Filled:
    """What it took to fill, in µs a record; None where nothing was added."""

    value: float | None
    member: float | None
    message: float | None


def grow(storage: Storage, old: int, new: int) -> Filled:
    """Adds what is missing, in commits of ten thousand records; keys come in no order."""
    few, many = members_beside(old), members_beside(new)
    return Filled(
        _timed(storage, _put, old, new),
        _timed(storage, _add, few, many),
        _timed(storage, _schedule, few, many),
    )


def due(number: int) -> datetime:
    """When a message is due: all are."""
    return START + timedelta(seconds=number)


def _timed(storage: Storage, add: Add, start: int, end: int) -> float | None:
    if start == end:
        return None
    before = time.perf_counter()
    for numbers in _sorted(start, end):
        for first in range(0, len(numbers), BATCH):
            add(storage, numbers[first : first + BATCH])
    return (time.perf_counter() - before) / (end - start) * 1e6


def _sorted(start: int, end: int) -> Iterator[list[int]]:
    """All numbers, some at a time in the order of their keys, which are spread over the whole."""
    for first in range(start, end, RUN):
        yield sorted(range(first, min(first + RUN, end)), key=key)


def _put(storage: Storage, numbers: Sequence[int]) -> None:
    storage.values.put_many({key(number): SHORT for number in numbers})


def _add(storage: Storage, numbers: Sequence[int]) -> None:
    storage.sets.add(SET, *(key(number).encode() for number in numbers))


def _schedule(storage: Storage, numbers: Sequence[int]) -> None:
    with storage.transaction() as unit:
        for number in numbers:
            unit.schedule(QUEUE, key(number), due=due(number))
