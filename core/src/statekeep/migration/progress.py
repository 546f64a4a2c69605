"""What was done so far, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import add
from typing import TypeAlias

from attrs import astuple, field, frozen, mutable

from statekeep.migration.selection import Item, SetMembers, kind_of, size_of
from statekeep.model import RecordKind


@frozen
class Count:
    """Of one kind, what was worked through.

    Attributes:
        records: values, sets or messages.
        members: of sets; 0 for the other kinds.
        bytes: of values, members or payloads.
        written: records that were written.
        same: records that the target held already, exactly so.
        kept: records that the target held otherwise, and that stayed as they were there.
        deleted: records that the source no longer has, and members of sets that it has.
    """

    records: int = 0
    members: int = 0
    bytes: int = 0
    written: int = 0
    same: int = 0
    kept: int = 0
    deleted: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(*map(add, astuple(self), astuple(other)))


@mutable
class Tally:
    """The counts by kind."""

    counts: dict[RecordKind, Count] = field(factory=dict)

    def add(self, kind: RecordKind, count: Count) -> None:
        """Takes more in."""
        self.counts[kind] = self.counts.get(kind, Count()) + count

    def __add__(self, other: Tally) -> Tally:
        found = Tally(dict(self.counts))
        for kind, count in other.counts.items():
            found.add(kind, count)
        return found

    @property
    def total(self) -> Count:
        """Of all kinds together."""
        return sum(self.counts.values(), Count())


@mutable
class Counter:
    """Counts records that come one after another, sets as members."""

    _numbers: dict[RecordKind, list[int]] = field(factory=dict, init=False)
    _set: str | None = field(default=None, init=False)

    def add(self, item: Item) -> bool:
        """Counts one more; whether it begins a record: pieces of a set follow each other."""
        begins, members = True, 0
        if isinstance(item, SetMembers):
            begins, members, self._set = item.key != self._set, len(item.members), item.key
        numbers = self._numbers.setdefault(kind_of(item), [0, 0, 0])
        numbers[0] += begins
        numbers[1] += members
        numbers[2] += size_of(item)
        return begins

    @property
    def tally(self) -> Tally:
        """What came."""
        return Tally({kind: Count(*numbers) for kind, numbers in self._numbers.items()})


@frozen
class Progress:
    """A moment of a move.

    Attributes:
        phase: what is going on: "check", "copy", "verify", "export", "read", "import", "delete".
        counts: what this phase has worked through so far, by kind.
        resumed: records of those that an earlier, interrupted run had worked through.
        read: records of the source that were read so far, where those that are not in `counts`
            are worked through too: a comparison counts what both sides have.
    """

    phase: str
    counts: Mapping[RecordKind, Count]
    resumed: int = 0
    read: int | None = None

    @property
    def records(self) -> int:
        """How far it is, in records of the source."""
        return self.total.records if self.read is None else self.read

    @property
    def total(self) -> Count:
        """Of all kinds together."""
        return sum(self.counts.values(), Count())


Watch: TypeAlias = Callable[[Progress], None]
"""Is called after each portion, in the thread that moves."""


def unwatched(progress: Progress) -> None:
    """Nobody looks."""
