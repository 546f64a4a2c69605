"""Measures two ways of doing the same thing side by side.

The machine is never quiet, so absolute times of two runs cannot be compared. Here both sides take
turns in many short rounds (A B, B A, A B, ...): what else the machine does meets both alike. The
answer is the ratio of the medians of the rounds, with the quartiles of the ratios of the pairs.
The garbage collector runs between rounds, never in one, as with `timeit`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeAlias, TypeVar

from attrs import field, frozen

T = TypeVar("T")

Repeat: TypeAlias = Callable[[int], float]
"""Makes so many calls and returns how many seconds they took together."""


@frozen
class Side:
    """One way of doing it."""

    label: str
    repeat: Repeat = field(repr=False)


@frozen
class Bar:
    """What must hold.

    Attributes:
        of: "ratio" (ours to theirs), "ours" or "more" (ours minus theirs), both in µs.
        most: the largest good value.
        text: for people.
    """

    of: str
    most: float
    text: str


@frozen
class Point:
    """Where a result belongs in a chart: on the curve of each of its sides.

    Attributes:
        chart: its title, such as "redis get".
        tasks: how many tasks called at once.
    """

    chart: str
    tasks: int


@frozen
class Comparison:
    """Something to measure, alone or beside an alternative.

    Attributes:
        name: for people; unique within the run.
        ours: what statekeep offers.
        theirs: the alternative.
        bar: what must hold.
        note: what else is to be said.
        size: bytes that a call works through, where that is what counts.
        long: rounds are long enough to hold what happens now and then, such as a checkpoint.
        point: where it is plotted.
    """

    name: str
    ours: Side
    theirs: Side | None = None
    bar: Bar | None = None
    note: str = ""
    size: int | None = None
    long: bool = False
    point: Point | None = None


@frozen
class Timing:
    """Microseconds a call, round by round."""

    label: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return median(self.rounds)


@frozen
class Result:
    """What a comparison came to."""

    benchmark: str
    name: str
    ours: Timing
    theirs: Timing | None
    bar: Bar | None
    note: str
    size: int | None = None
    point: Point | None = None

    @property
    def speed(self) -> float | None:
        """MB/s, of 10^6 bytes."""
        return None if self.size is None else self.size / self.ours.median

    @property
    def ratio(self) -> float | None:
        """Ours to theirs; above 1 is slower."""
        return None if self.theirs is None else self.ours.median / self.theirs.median

    @property
    def spread(self) -> tuple[float, float] | None:
        """The quartiles of the ratios of the pairs of rounds."""
        if self.theirs is None:
            return None
        pairs = [
            ours / theirs for ours, theirs in zip(self.ours.rounds, self.theirs.rounds, strict=True)
        ]
        if len(pairs) < 2:
            return (pairs[0], pairs[0])
        first, _, third = quantiles(pairs, n=4, method="inclusive")
        return (first, third)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.bar is None:
            return None
        if self.bar.of == "ours" or self.theirs is None:
            return self.ours.median <= self.bar.most
        if self.bar.of == "more":
            return self.ours.median - self.theirs.median <= self.bar.most
        return self.ours.median / self.theirs.median <= self.bar.most


@frozen
class Plan:
    """How long to measure.

    Attributes:
        rounds: of each side, where they fit in the budget.
        fewest: rounds of each side, whatever they take.
        round_seconds: how long a round should take: shorter than a scheduler's time slice, so
            that most rounds are not interrupted even where others use the machine.
        long_round_seconds: the same where rounds must be long.
        warm_up: seconds that each side runs before.
        budget: seconds a comparison may take.
        many: how many keys "many" are.
    """

    rounds: int = 400
    fewest: int = 9
    round_seconds: float = 0.001
    long_round_seconds: float = 0.02
    warm_up: float = 0.3
    budget: float = 1.5
    many: int = 1_000_000


QUICK = Plan(
    rounds=2,
    fewest=2,
    round_seconds=0.0002,
    long_round_seconds=0.0002,
    warm_up=0.0,
    budget=0.05,
    many=5_000,
)
"""Shows that everything runs, and says nothing about speed."""


@frozen
class Workshop:
    """What a benchmark works with: a folder of its own, and how much is asked of it."""

    folder: Path
    plan: Plan

    def folder_for(self, name: str) -> Path:
        """A new folder, on the disk where all files of this run are."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


Benchmark: TypeAlias = Callable[[Workshop], Iterator[Comparison]]


def at_most(times: float) -> Bar:
    """Ours takes at most so many times theirs."""
    return Bar("ratio", times, f"at most {times:g}x")


def faster(times: float = 1.0) -> Bar:
    """Ours is so many times faster, or more."""
    return Bar("ratio", 1 / times, "faster" if times == 1 else f"{times:g}x faster")


def microseconds(most: float) -> Bar:
    """Ours takes at most so long, whatever theirs takes."""
    return Bar("ours", most, f"at most {most:g} µs")


def more(milliseconds: float) -> Bar:
    """Ours takes at most so much longer than theirs."""
    return Bar("more", milliseconds * 1000, f"at most {milliseconds:g} ms more")


def calls(function: Callable[[T], Any], arguments: Sequence[T]) -> Repeat:
    """Calls of a function, with the arguments in turn, over and over."""
    supply = cycle(arguments)

    def repeat(count: int) -> float:
        batch = list(islice(supply, count))
        start = time.perf_counter()
        for argument in batch:
            function(argument)
        return time.perf_counter() - start

    return repeat


def run(benchmark: str, function: Benchmark, workshop: Workshop) -> Iterator[Result]:
    """Measures every comparison of a benchmark."""
    for comparison in function(workshop):
        yield measure(benchmark, comparison, workshop.plan)


def measure(benchmark: str, comparison: Comparison, plan: Plan) -> Result:
    """Measures one comparison."""
    sides = [comparison.ours] + ([comparison.theirs] if comparison.theirs else [])
    with no_collector():
        seconds = plan.long_round_seconds if comparison.long else plan.round_seconds
        for side in sides:
            _warm_up(side, plan.warm_up)
        counts = [_count(side, seconds) for side in sides]
        taken: list[list[float]] = [[] for _ in sides]
        end = time.perf_counter() + plan.budget
        for number in range(plan.rounds):
            if number >= plan.fewest and time.perf_counter() > end:
                break
            gc.collect()
            order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
            for index in order:
                taken[index].append(sides[index].repeat(counts[index]) / counts[index] * 1e6)
    timings = [Timing(side.label, tuple(each)) for side, each in zip(sides, taken, strict=True)]
    return Result(
        benchmark,
        comparison.name,
        timings[0],
        timings[1] if comparison.theirs else None,
        comparison.bar,
        comparison.note,
        comparison.size,
        comparison.point,
    )


def _warm_up(side: Side, seconds: float) -> None:
    """Fills caches: what was counted before would make short rounds, and those are slow ones."""
    end, count = time.perf_counter() + seconds, 1
    while time.perf_counter() < end:
        side.repeat(count)
        count = min(2 * count, 100)


def _count(side: Side, seconds: float) -> int:
    """How many calls fill a round."""
    count = 1
    while (taken := side.repeat(count)) < seconds / 2:
        count *= 2
    if count > 1:
        taken = min(taken, side.repeat(count), side.repeat(count))
    return max(1, round(count * seconds / taken))


@contextmanager
def no_collector() -> Iterator[None]:
    """Collects garbage now, and none until the end."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
