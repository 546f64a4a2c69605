"""Writes records to a target as they were, as its owner wants conflicts to be settled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from attrs import evolve, frozen

from statekeep.backend import Backend
from statekeep.errors import StorageError
from statekeep.migration import lookup
from statekeep.migration.committing import commit
from statekeep.migration.differences import differing, is_newer
from statekeep.migration.patience import Patience
from statekeep.migration.progress import Count
from statekeep.migration.selection import Item, SetMembers, described, name_of, size_of
from statekeep.model import (
    Add,
    DeferredMessage,
    KeySetRecord,
    KeyValueRecord,
    Operation,
    Restore,
)


class OnConflict(Enum):
    """What becomes of a record that the target has already, but otherwise."""

    FAIL = "fail"
    SKIP = "skip"
    OVERWRITE = "overwrite"


class TargetConflict(StorageError):
    """The target holds what would be replaced, and nobody said that it may be.

    Attributes:
        names: of some such records, as text.
    """

    def __init__(self, message: str, names: Iterable[str]) -> None:
        self.names = tuple(names)
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.names))


@frozen
class Writer:
    """Writes to a target.

    Attributes:
        target: where to.
        on_conflict: how conflicts are settled. Members are added to a set in any case.
        patience: with a target that is away.
        resumes: whether an earlier run may have written some of the records to a target that had
            none of them: with `FAIL`, what may be an earlier state of the source's record is then
            no conflict, but replaced.
    """

    target: Backend
    on_conflict: OnConflict
    patience: Patience
    resumes: bool = False

    def write(self, items: Sequence[Item]) -> Count:
        """Writes what is not there yet; repeating it changes nothing.

        Raises:
            TargetConflict: the target has some of them, but otherwise; nothing was written.
        """
        items = _once(items)
        sets = sum(isinstance(item, SetMembers) for item in items)
        members = sum(len(item.members) for item in items if isinstance(item, SetMembers))
        count = Count(records=len(items) - sets, members=members, bytes=sum(map(size_of, items)))
        wanted: Sequence[Item] = items
        kept: list[Item] = []
        if self.on_conflict is not OnConflict.OVERWRITE:
            wanted, kept = self._sorted(items)
        if kept and self.on_conflict is OnConflict.FAIL:
            raise conflict([described(item) for item in kept], len(kept))
        commit(self.target, [_operation(item) for item in wanted], self.patience)
        same = len(items) - len(wanted) - len(kept)
        return evolve(count, written=len(wanted) - sets, same=same, kept=len(kept))

    def conflicts(self, items: Sequence[Item]) -> list[Item]:
        """Those that the target has otherwise."""
        return self._sorted(items)[1]

    def _sorted(self, items: Sequence[Item]) -> tuple[Sequence[Item], list[Item]]:
        """Those that the target does not have, and those that it has otherwise."""
        there = self._there(items)
        if not there:
            return items, []
        wanted: list[Item] = []
        kept: list[Item] = []
        for item in items:
            other = None if isinstance(item, SetMembers) else there.get(name_of(item))
            if other is None:
                wanted.append(item)
            elif differing(item, other):
                ours = self.resumes and self.on_conflict is OnConflict.FAIL
                (wanted if ours and is_newer(item, other) else kept).append(item)
        return wanted, kept

    def _there(self, items: Sequence[Item]) -> dict[str | tuple[str, str], Item]:
        """The values or messages that the target has under the names of these."""
        keys = [item.key for item in items if isinstance(item, KeyValueRecord)]
        names = [item.name for item in items if isinstance(item, DeferredMessage)]
        values = self.patience.call(lambda: lookup.values(self.target, keys))
        messages = self.patience.call(lambda: lookup.messages(self.target, names))
        return dict([*values.items(), *messages.items()])


def conflict(names: Sequence[str], count: int) -> TargetConflict:
    """The error for records that the target has otherwise."""
    shown = ", ".join(names[:3]) + (", ..." if count > 3 else "")
    return TargetConflict(
        f"the target has {count} of these records otherwise, and they stay as they are there "
        f"({shown}): say whether to skip or to overwrite them (--on-conflict)",
        names,
    )


def _once(items: Sequence[Item]) -> Sequence[Item]:
    """The records, each once: an export may hold one twice, and the later is the newer."""
    found: dict[object, Item] = {}
    for number, item in enumerate(items):
        found[number if isinstance(item, SetMembers) else name_of(item)] = item
    return items if len(found) == len(items) else tuple(found.values())


def _operation(item: Item) -> Operation:
    assert not isinstance(item, KeySetRecord)
    return Add(item.key, item.members) if isinstance(item, SetMembers) else Restore(item)
