"""Finds the records that two long streams do not have in common, in constant memory.

Both are read a page at a time, always the one that lags behind by its names, and what meets its
like is forgotten. Where both are in the order of names, which every store of ours but a Redis
Cluster gives, little is ever kept; in any other order too much may be: the oldest are then looked
up at the other side. What is left over is only suspected: a record may have changed between the
two reads, or have been read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

from attrs import field, mutable

N = TypeVar("N", str, tuple[str, str], bytes)
T = TypeVar("T")

MOST_KEPT = 5000
MOST_KEPT_BYTES = 16 * 2**20
"""Of each side, records that wait for their like, and the bytes that they hold."""

SUSPECTS = 256
"""Names that are looked up together."""


@mutable
class Side(Generic[N, T]):
    """One of the two streams.

    Attributes:
        pages: what is left of it.
        ahead: the page to come, while it is being read.
        last: the last name that was read, or None.
        kept: the records that have not met their like.
        bytes: of these.
    """

    pages: Iterator[Sequence[tuple[N, T]]]
    ahead: Future[Sequence[tuple[N, T]] | None] | None = None
    last: N | None = None
    kept: dict[N, T] = field(factory=dict)
    bytes: int = 0

    def read_ahead(self, pool: Executor) -> None:
        """Has the next page read."""
        self.ahead = pool.submit(next, self.pages, None)

    @property
    def ended(self) -> bool:
        """Whether all pages have been read."""
        return self.ahead is None


@mutable
class Suspects(Generic[N]):
    """Names whose records must be looked up.

    Attributes:
        differing: both streams had the record, and it differed.
        source: the source had it, and the target's was not met in time. So each record of the
            source is met, or among these.
        target: the target had it, and the source's was not met in time.
        sizes: the bytes of what both may hold, of each name.
    """

    differing: list[N] = field(factory=list)
    source: list[N] = field(factory=list)
    target: list[N] = field(factory=list)
    sizes: dict[N, int] = field(factory=dict)

    def full(self) -> bool:
        """Whether there are enough to be looked up together."""
        return max(map(len, (self.differing, self.source, self.target))) >= SUSPECTS


@mutable
class Matching(Generic[N, T]):
    """Two streams that are matched.

    Attributes:
        source: the one.
        target: the other.
        differ: whether two records of one name differ.
        size: the bytes of a record.
        met: how many names both streams have had.
    """

    source: Side[N, T]
    target: Side[N, T]
    differ: Callable[[T, T], bool]
    size: Callable[[T], int]
    met: int = 0

    def suspects(self, pool: Executor) -> Iterator[Suspects[N]]:
        """Names of records that differ, or that one side seems to lack; some after each page.

        Args:
            pool: where pages are read ahead, one of each side.
        """
        found: Suspects[N] = Suspects()
        self.source.read_ahead(pool)
        self.target.read_ahead(pool)
        while not (self.source.ended and self.target.ended):
            side, other = self._lagging()
            assert side.ahead is not None
            page = side.ahead.result()
            if page is None:
                side.ahead = None
                continue
            side.read_ahead(pool)
            self._match(side, other, page, found)
            self._overflow(side, found)
            if found.full():
                yield found
                found = Suspects()
            else:
                yield Suspects()  # nothing to look up, but a page of progress
        self._overflow(self.source, found, most=0)
        self._overflow(self.target, found, most=0)
        yield found

    def _lagging(self) -> tuple[Side[N, T], Side[N, T]]:
        ours, theirs = self.source, self.target
        if ours.ended or theirs.ended:
            return (theirs, ours) if ours.ended else (ours, theirs)
        if ours.last is None or (theirs.last is not None and ours.last <= theirs.last):
            return ours, theirs
        return theirs, ours

    def _match(
        self, side: Side[N, T], other: Side[N, T], page: Sequence[tuple[N, T]], found: Suspects[N]
    ) -> None:
        for name, record in page:
            side.last = name
            size = self.size(record)
            like = other.kept.pop(name, None)
            if like is None:
                if name in side.kept:  # read twice
                    side.bytes -= self.size(side.kept[name])
                side.kept[name] = record
                side.bytes += size
                continue
            self.met += 1
            other.bytes -= self.size(like)
            if self.differ(record, like):
                found.differing.append(name)
                found.sizes[name] = size + self.size(like)

    def _overflow(self, side: Side[N, T], found: Suspects[N], most: int | None = None) -> None:
        """Takes the oldest, where too much waits."""
        unmet = found.source if side is self.source else found.target
        most = MOST_KEPT if most is None else most
        while len(side.kept) > most or (side.bytes > MOST_KEPT_BYTES and len(side.kept) > 1):
            name = next(iter(side.kept))
            size = self.size(side.kept.pop(name))
            side.bytes -= size
            unmet.append(name)
            found.sizes[name] = 2 * size
