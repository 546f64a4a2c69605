"""`compare`: two stores record by record, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from attrs import field, mutable

from statekeep.backend import Backend
from statekeep.migration import lookup, reading
from statekeep.migration.differences import EXTRA, MISSING, Difference, difference, differing
from statekeep.migration.matching import Matching, Side
from statekeep.migration.patience import DEFAULT_PATIENCE, Patience
from statekeep.migration.progress import Count, Progress, Tally, Watch, unwatched
from statekeep.migration.reading import BATCH, portions
from statekeep.migration.selection import EVERYTHING, Item, Selection, name_of, size_of
from statekeep.model import KeySetRecord, RecordKind

READERS = 8
"""Threads that read: a page of each side ahead, or the sets of several keys."""

CONFIRMED_AT_ONCE = 64
"""Records that are read again together, from both sides."""

CONFIRMED_BYTES = 16 * 2**20
"""What these hold together, unless a single one has more."""


@mutable
class Comparison:
    """Two stores, to be compared by iterating once over what differs. Made by `compare`.

    Each difference was seen twice: when the records were read, and when both were read again. So
    a record that changes while it is compared is reported only where it changed in between again.

    Attributes:
        source: the one.
        target: the other.
        selection: what is compared.
        patience: with a store that is away.
        watch: is told how far it is.
        tally: what both have had, by kind.
        found: how many differences there were so far.
        read: how many records of the source were read so far.
    """

    source: Backend
    target: Backend
    selection: Selection = EVERYTHING
    patience: Patience = field(factory=Patience)
    watch: Watch = unwatched
    tally: Tally = field(factory=Tally)
    found: int = 0
    read: int = 0

    @property
    def _sides(self) -> tuple[Backend, Backend]:
        return self.source, self.target

    def __iter__(self) -> Iterator[Difference]:
        with ThreadPoolExecutor(READERS, thread_name_prefix="statekeep-compare") as pool:
            try:
                for kind in self.selection.kinds:
                    for each in self._kind(kind, pool):
                        self.found += 1
                        yield each
            except BaseException:
                self.patience.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _kind(self, kind: RecordKind, pool: Executor) -> Iterator[Difference]:
        sets: list[str] = []
        met = [0, 0]

        def meet(ours: Item) -> None:
            met[0] += 1
            met[1] += size_of(ours)
            if isinstance(ours, KeySetRecord):
                sets.append(ours.key)

        def differ(ours: Item, theirs: Item) -> bool:
            meet(ours)
            return bool(differing(ours, theirs))

        ours, theirs = (Side[Any, Item](self._pages(each, kind)) for each in self._sides)
        matching = Matching(ours, theirs, differ, size_of)
        for suspects in matching.suspects(pool):
            sizes = suspects.sizes
            yield from self._confirmed(kind, suspects.differing, sizes)
            yield from self._confirmed(kind, suspects.source, sizes, meet)
            for found in self._confirmed(kind, suspects.target, sizes):
                if found.what == (EXTRA,):  # else the source's side had it, or it is just made
                    yield found
            yield from self._sets(sets, pool)
            self.tally.add(kind, Count(records=met[0], bytes=met[1]))
            met[:] = [0, 0]
            self.watch(Progress("verify", self.tally.counts, read=self.read))

    def _pages(self, side: Backend, kind: RecordKind) -> Iterator[Sequence[tuple[Any, Item]]]:
        one = Selection(self.selection.prefix, (kind,))
        for portion in portions(side, one, BATCH, self.patience):
            self.read += len(portion.items) if side is self.source else 0
            yield [(name_of(item), item) for item in portion.items]

    def _confirmed(
        self,
        kind: RecordKind,
        names: Sequence[Any],
        sizes: Mapping[Any, int],
        meet: Callable[[Item], object] = size_of,
    ) -> Iterator[Difference]:
        """What differs also when it is read again; `meet` is told what both have."""
        for some in lookup.fitting(names, sizes, CONFIRMED_AT_ONCE, CONFIRMED_BYTES):
            ours, theirs = (self._read(each, kind, some) for each in self._sides)
            for name in some:
                if name in ours and name in theirs:
                    meet(ours[name])
                found = difference(kind, name, ours.get(name), theirs.get(name))
                if found is not None:
                    yield found

    def _read(self, side: Backend, kind: RecordKind, names: Sequence[Any]) -> dict[Any, Item]:
        if kind is RecordKind.KEY_VALUE:
            return dict(self.patience.call(lambda: lookup.values(side, names)))
        if kind is RecordKind.DEFERRED:
            return dict(self.patience.call(lambda: lookup.messages(side, names)))
        there = self.patience.call(lambda: lookup.has_members(side, names))
        return {key: KeySetRecord(key) for key in there}

    def _sets(self, keys: list[str], pool: Executor) -> Iterator[Difference]:
        """What the sets of these keys, which both sides have, do not have in common."""
        waiting, keys[:] = list(keys), []
        for some in lookup.pieces(waiting, READERS * 4):
            for key, found in zip(some, pool.map(self._small, some), strict=True):
                yield from self._large(key, pool) if found is None else found

    def _small(self, key: str) -> list[Difference] | None:
        """The differences of a set that is one page on both sides; None for a larger one."""
        ours, theirs = (
            self.patience.call(lambda: side.members(key, limit=reading.MEMBERS, cursor=None))  # noqa: B023  # called here
            for side in self._sides
        )
        if ours.cursor is not None or theirs.cursor is not None:
            return None
        self._count(len(ours.items))
        suspected = list(frozenset(ours.items) ^ frozenset(theirs.items))
        return list(self._members(key, sorted(suspected)))

    def _large(self, key: str, pool: Executor) -> Iterator[Difference]:
        def pages(side: Backend) -> Iterator[Sequence[tuple[bytes, bytes]]]:
            for page in reading.members(side, key, self.patience):
                yield [(member, member) for member in page.members]

        ours, theirs = (Side[bytes, bytes](pages(each)) for each in self._sides)
        matching = Matching(ours, theirs, lambda *_: False, len)
        unmet = 0
        for suspects in matching.suspects(pool):
            unmet += len(suspects.source)
            yield from self._members(key, suspects.source)
            yield from self._members(key, suspects.target)
        self._count(matching.met + unmet)

    def _members(self, key: str, suspected: Sequence[bytes]) -> Iterator[Difference]:
        if not suspected:
            return
        ours, theirs = (
            self.patience.call(lambda: side.contains(key, suspected))  # noqa: B023  # called here
            for side in self._sides
        )
        for member in suspected:
            if (member in ours) != (member in theirs):
                what = MISSING if member in ours else EXTRA
                yield Difference(RecordKind.KEY_SET, key, (what,), member)

    def _count(self, members: int) -> None:
        self.tally.add(RecordKind.KEY_SET, Count(members=members))


def compare(
    source: Backend,
    target: Backend,
    selection: Selection = EVERYTHING,
    *,
    patience: timedelta = DEFAULT_PATIENCE,
    watch: Watch = unwatched,
) -> Comparison:
    """Compares values with versions and expiry, sets, and messages with their leases.

    Iterate over what it returns; nothing is read before. Nothing is ever written.

    Args:
        source: `Storage.backend` of a storage without a cache, set up.
        target: the same.
        selection: which records; all of them without it.
        patience: how long a store may be away before it is an error.
        watch: is told how far it is.

    Raises:
        Unavailable: a store was away for too long.
        CorruptValue: a stored value is damaged.
    """
    return Comparison(source, target, selection, Patience(patience), watch)
