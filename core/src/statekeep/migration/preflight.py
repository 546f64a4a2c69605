"""What can be known to go wrong before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from attrs import field, frozen

from statekeep.backend import Backend, Capabilities
from statekeep.errors import InvalidArgument, Unsupported
from statekeep.migration.patience import Patience
from statekeep.migration.progress import Count, Progress, Tally, Watch
from statekeep.migration.reading import BATCH, portions
from statekeep.migration.selection import Item, Selection, SetMembers, described, size_of
from statekeep.migration.writing import TargetConflict
from statekeep.model import KeySetRecord, KeyValueRecord, RecordKind

NAMED = 5
"""Records at fault that an error names."""


def check_writable(target: Backend) -> None:
    """Refuses a target that takes no writes.

    Raises:
        Unsupported: it is read-only.
    """
    if target.capabilities.read_only:
        raise Unsupported(
            "this store is read-only, by its config or by its nature: nothing can be written to it"
        )


def check_empty(target: Backend, selection: Selection) -> None:
    """Refuses a target that has anything of what is to be copied.

    Raises:
        TargetConflict: it has, and one record is named.
    """
    for kind in selection.kinds:
        found = _first(target, kind, selection.prefix)
        if found is not None:
            where = f" under {selection.prefix!r}" if selection.prefix else ""
            raise TargetConflict(
                f"the target is not empty{where}: it has the {described(found)}. Say what becomes "
                "of records that it has otherwise (--on-conflict, or on_conflict in Python: skip, "
                "overwrite, newer), or take an empty one",
                [described(found)],
            )


def check_still_there(target: Backend, selection: Selection) -> None:
    """Refuses to go on with a target that has lost what was copied before.

    Raises:
        InvalidArgument: it has nothing at all.
    """
    if all(_first(target, kind, selection.prefix) is None for kind in selection.kinds):
        raise InvalidArgument(
            "the checkpoint says that records were copied, and the target has none: it is another "
            "one, or was emptied; delete the checkpoint to begin anew"
        )


def check_fits(
    source: Backend, target: Backend, selection: Selection, patience: Patience, watch: Watch
) -> None:
    """Refuses records that the target cannot hold; reads the source only where there may be some.

    Raises:
        Unsupported: values that expire, for a target that has no expiry.
        InvalidArgument: values or payloads that are too large for it.
    """
    ours, theirs = source.capabilities, target.capabilities
    if theirs.max_value_bytes >= ours.max_value_bytes and theirs.expiry >= ours.expiry:
        return
    kinds = [kind for kind in selection.kinds if kind is not RecordKind.KEY_SET]
    if not kinds:
        return
    misfits, tally = Misfits(theirs), Tally()
    for portion in portions(source, Selection(selection.prefix, kinds), BATCH, patience):
        misfits.look(portion.items)
        tally.add(portion.kind, Count(records=len(portion.items), bytes=portion.bytes))
        watch(Progress("check", tally.counts))
    misfits.refuse()


@frozen
class Misfits:
    """Records that a target cannot hold.

    Attributes:
        limits: of the target.
        large: some whose contents are too large.
        expiring: some values that expire, where the target has no expiry.
    """

    limits: Capabilities
    large: list[Item] = field(factory=list)
    expiring: list[Item] = field(factory=list)

    def look(self, items: Iterable[Item]) -> None:
        """Remembers those among these records."""
        for item in items:
            if isinstance(item, KeySetRecord | SetMembers):
                continue
            if size_of(item) > self.limits.max_value_bytes:
                self._remember(self.large, item)
            if isinstance(item, KeyValueRecord) and item.entry.expires and not self.limits.expiry:
                self._remember(self.expiring, item)

    def _remember(self, where: list[Item], item: Item) -> None:
        if len(where) <= NAMED:
            where.append(item)

    def refuse(self) -> None:
        """Raises where there are any; errors as those of `check_fits`."""
        if self.large:
            raise InvalidArgument(
                f"the target holds at most {self.limits.max_value_bytes} bytes a value, and these "
                f"are larger: {_named(self.large)}; nothing was written"
            )
        if self.expiring:
            raise Unsupported(
                "the target cannot let values expire, and these do: "
                f"{_named(self.expiring)}; nothing was written"
            )


def _named(items: list[Item]) -> str:
    names = [f"{described(item)} ({size_of(item)} bytes)" for item in islice(items, NAMED)]
    return ", ".join(names) + (", ..." if len(items) > NAMED else "")


def _first(target: Backend, kind: RecordKind, prefix: str) -> Item | None:
    cursor = None
    while True:
        page = target.scan(kind, prefix=prefix, limit=1, cursor=cursor)
        cursor = page.cursor
        if page.items or cursor is None:
            return page.items[0] if page.items else None
