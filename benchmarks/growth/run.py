"""Step by step: fill, measure the calls, read everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from benchmarks.growth.calling import CALLS
from benchmarks.growth.filling import Filled, grow, members_beside
from benchmarks.growth.reading import Everything, read_apart
from benchmarks.growth.stores import STORES
from benchmarks.growth.timing import Compared, Pace, compare


@frozen
class Step:
    """What was measured with so many keys.

    Attributes:
        keys: in the storage that grows.
        members: of its set, and messages in its queue.
        filled: what it took to come here from the step before.
        calls: on it, and on the storage that stays at the first step.
        everything: what it took to read all of it.
    """

    keys: int
    members: int
    filled: Filled
    calls: tuple[Compared, ...]
    everything: Everything


@frozen
class Growth:
    """The steps of one kind of storage."""

    store: str
    steps: tuple[Step, ...]


def measure(
    store: str, folder: Path, steps: Sequence[int], pace: Pace, tell: Callable[[str], None]
) -> Iterator[Step]:
    """Lets a storage grow, and gives what was measured at each step.

    Args:
        store: a name in `STORES`.
        folder: for files.
        steps: numbers of keys, rising. The other storage stays at the first.
        pace: how long to measure.
        tell: is told what is being done.
    """
    with STORES[store](folder) as pair:
        grow(pair.few, 0, steps[0])
        for old, new in zip((0, *steps), steps, strict=False):
            tell(f"{store}: filling up to {new:,} keys")
            filled = grow(pair.many, old, new)
            pair.settle()
            tell(f"{store}: reading all of {new:,} keys")
            everything = read_apart(pair.config)
            tell(f"{store}: calls among {new:,} keys")
            calls = tuple(
                compare(name, make(pair.few, steps[0]), make(pair.many, new), pace)
                for name, make in CALLS.items()
            )
            yield Step(new, members_beside(new), filled, calls, everything)
