"""Logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

STEPS = (1, 2, 5)
"""Times a power of ten."""


@frozen
class Axis:
    """Numbers from `low` to `high`, on a way from `start` to `end`.

    Attributes:
        steps: of each power of ten, where there are ticks.
    """

    low: float
    high: float
    start: float
    end: float
    steps: Sequence[int]

    def at(self, number: float) -> float:
        """Where a number is."""
        part = math.log(number / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> Iterator[int]:
        """Round numbers within."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for power in range(first, last + 1):
            for step in self.steps:
                if self.low <= step * 10**power <= self.high:
                    yield step * 10**power


def powers(numbers: Iterable[float], start: float, end: float) -> Axis:
    """From one power of ten to another, such that all numbers are between."""
    found = list(numbers)
    low = math.floor(math.log10(min(found)))
    high = max(math.ceil(math.log10(max(found))), low + 1)
    return Axis(10**low, 10**high, start, end, (1,))


def snug(numbers: Iterable[float], start: float, end: float) -> Axis:
    """From 1, 2 or 5 times a power of ten to another."""
    found = list(numbers)
    low, high = _below(min(found)), _above(max(found))
    high = max(high, 2 * low)
    return Axis(low, high, start, end, STEPS if high <= 1000 * low else (1,))


def short(number: float) -> str:
    """A number as on an axis: 500, 20k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _below(number: float) -> float:
    power = 10.0 ** math.floor(math.log10(number))
    return max(step * power for step in STEPS if step * power <= number)


def _above(number: float) -> float:
    power = 10.0 ** math.floor(math.log10(number))
    return min(step * power for step in (*STEPS, 10) if step * power >= number)
