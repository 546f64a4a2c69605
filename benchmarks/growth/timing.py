"""Calls on two storages in turns, each call with its own time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from itertools import count
from statistics import median, quantiles
from typing import Any, TypeAlias

from attrs import frozen

from benchmarks.harness import no_collector

Call: TypeAlias = Callable[[], Any]

BLOCK_SECONDS = 0.02
"""How long one storage is called before it is the other's turn."""


FEWEST = 2
"""Turns of each, whatever they take."""


@frozen
class Pace:
    """How long to measure, in seconds: calls that fill caches, and calls that count."""

    warm_up: float = 1.0
    measured: float = 4.0


@frozen
class Timed:
    """How long a call took, in µs: the median and the 99th percentile."""

    p50: float
    p99: float


@frozen
class Compared:
    """The same call on the storage that stays small and on the one that grows."""

    name: str
    few: Timed
    many: Timed


def compare(name: str, few: Call, many: Call, pace: Pace) -> Compared:
    """Measures a call."""
    return Compared(name, *_alternate(few, many, pace))


def _alternate(few: Call, many: Call, pace: Pace) -> tuple[Timed, Timed]:
    sides: tuple[tuple[Call, list[float]], ...] = ((few, []), (many, []))
    with no_collector():
        for call, _ in sides:
            _block(call, [], pace.warm_up)
        end = time.perf_counter() + pace.measured
        for turn in count():
            if turn >= FEWEST and time.perf_counter() > end:
                break
            gc.collect()
            for call, taken in sides if turn % 2 else reversed(sides):
                _block(call, taken, BLOCK_SECONDS)
    first, second = (_timed(taken) for _, taken in sides)
    return first, second


def _block(call: Call, taken: list[float], seconds: float) -> None:
    now = time.perf_counter()
    end = now + seconds
    while now < end:
        call()
        before, now = now, time.perf_counter()
        taken.append((now - before) * 1e6)


def _timed(taken: list[float]) -> Timed:
    if len(taken) < 2:
        return Timed(taken[0], taken[0])
    return Timed(median(taken), quantiles(taken, n=100, method="inclusive")[98])
