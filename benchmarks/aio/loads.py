"""What tasks do, how many of them, and the comparisons that come of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from statistics import quantiles

from attrs import frozen

from benchmarks.aio.client import Client, KeyValue, One, Ours
from benchmarks.harness import Bar, Comparison, Point, Repeat, Side, Workshop, at_most, faster
from benchmarks.workload import KEYS, key, picks

TASKS = (1, 10, 100, 1000)
LEAST = 4
"""Calls of each task in a round, at least: so that starting the tasks is not what is measured."""

ZIPF = 0.99
"""The exponent of YCSB's zipfian choice of keys."""


@frozen
class Load:
    """The same thing done by two clients.

    Attributes:
        name: for people.
        ours: what a task does.
        theirs: the same with the alternative.
        names: the keys, in turn.
        tasks: by how many tasks at once.
        bars: what must hold, by the number of tasks.
    """

    name: str
    ours: One
    theirs: One
    names: Sequence[str]
    tasks: Sequence[int] = TASKS
    bars: Mapping[int, Bar] = {}


def versioned(
    ours: Client, theirs: Client, *, reads: float | None = None, writes: float | None = None
) -> list[Load]:
    """All loads; `reads` and `writes` say how many times as fast ours must be at 100 tasks."""
    return [
        Load("get", ours.read, theirs.read, picks(), bars=_bars(reads)),
        Load("conditional put", ours.write, theirs.write, picks(), bars=_bars(writes)),
        Load("90 % get, 10 % put, zipfian", ours.mixed, theirs.mixed, zipfian(), TASKS[1:]),
        Load("read-modify-write", ours.change, theirs.change, picks(), TASKS[1:]),
    ]


def unconditional(ours: Ours, theirs: KeyValue) -> list[Load]:
    """What a store without versions can do."""
    return [
        Load("get", ours.read, theirs.read, picks()),
        Load("put", ours.overwrite, theirs.overwrite, picks()),
    ]


def compare(
    workshop: Workshop,
    runner: asyncio.Runner,
    store: str,
    labels: tuple[str, str],
    loads: Sequence[Load],
) -> Iterator[Comparison]:
    """Every load with every number of tasks; with few of them in a quick run."""
    for load in loads:
        for tasks in load.tasks if workshop.plan.warm_up else load.tasks[:1]:
            yield _row(workshop, runner, store, labels, load, tasks)


def repeated(runner: asyncio.Runner, one: One, tasks: int, names: Sequence[str]) -> Repeat:
    """Calls by so many tasks at once; fewer than `LEAST` of each are made more, and scaled."""
    supply = cycle(names)

    async def run(each: int) -> float:
        async def task(number: int, mine: list[str]) -> None:
            for name in mine:
                await one(number, name)

        portions = [list(islice(supply, each)) for _ in range(tasks)]
        start = time.perf_counter()
        await asyncio.gather(*(task(number, mine) for number, mine in enumerate(portions)))
        return time.perf_counter() - start

    def repeat(count: int) -> float:
        each = max(LEAST if tasks > 1 else 1, round(count / tasks))
        return runner.run(run(each)) * count / (each * tasks)

    return repeat


def zipfian() -> list[str]:
    """Keys by YCSB's law: few of them most of the time."""
    source = random.Random(4)
    weights = [1 / (rank + 1) ** ZIPF for rank in range(KEYS)]
    return [key(number) for number in source.choices(range(KEYS), weights, k=20_000)]


def _bars(times: float | None) -> Mapping[int, Bar]:
    return {} if times is None else {1: at_most(1.6), 100: faster(times)}


def _row(
    workshop: Workshop,
    runner: asyncio.Runner,
    store: str,
    labels: tuple[str, str],
    load: Load,
    tasks: int,
) -> Comparison:
    ones = (load.ours, load.theirs)
    sides = [
        Side(label, repeated(runner, one, tasks, load.names))
        for label, one in zip(labels, ones, strict=True)
    ]
    seconds = 0.4 if workshop.plan.warm_up else 0.01
    told = [_told(runner, one, tasks, load.names, seconds) for one in ones]
    chart = f"{store} {load.name}"
    return Comparison(
        f"{chart}, {tasks} {'task' if tasks == 1 else 'tasks'}, beside {labels[1]}",
        sides[0],
        sides[1],
        load.bars.get(tasks),
        f"p50/p99/CPU {told[0]} beside {told[1]}",
        long=True,
        point=Point(chart, tasks),
    )


def _told(
    runner: asyncio.Runner, one: One, tasks: int, names: Sequence[str], seconds: float
) -> str:
    """The median and the 99th percentile of the time a call takes, and CPU a call."""
    supply = cycle(names)
    taken: list[float] = []

    async def task(number: int, end: float) -> None:
        now = time.perf_counter()
        while True:  # once at least, so that there is something to tell of
            await one(number, next(supply))
            before, now = now, time.perf_counter()
            taken.append(now - before)
            if now >= end:
                return

    async def run(length: float) -> None:
        end = time.perf_counter() + length
        await asyncio.gather(*(task(number, end) for number in range(tasks)))

    runner.run(run(seconds / 4))
    taken.clear()
    used = time.process_time()
    runner.run(run(seconds))
    used = time.process_time() - used
    cuts = quantiles(taken, n=100) if len(taken) > 1 else [taken[0]] * 99
    return f"{_time(cuts[49])}/{_time(cuts[98])}/{_time(used / len(taken))}"


def _time(seconds: float) -> str:
    micros = seconds * 1e6
    if micros >= 1000:
        return f"{micros / 1000:.3g} ms"
    return f"{micros:.1f} µs" if micros < 10 else f"{micros:.0f} µs"
