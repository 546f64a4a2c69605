"""In what two records of one name differ: pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from statekeep.migration.selection import Item, Name
from statekeep.model import DeferredMessage, KeyValueRecord, RecordKind

MISSING, EXTRA = "missing", "extra"
EXPIRY_STEP = timedelta(milliseconds=1)
"""Some stores keep the end of a value's time to the millisecond."""


@frozen
class Difference:
    """A record that is not the same on both sides.

    Attributes:
        kind: its kind.
        name: its key, or `(queue, id)`.
        what: "missing" (the target lacks it), "extra" (only the target has it), or what differs:
            "version", "value", "expires", "due", "visible", "attempt", "token", "payload".
        member: of a set that both sides have, the member that one of them lacks.
        source: the record as the source has it, where it does; without a set's members.
        target: the same of the target.
    """

    kind: RecordKind
    name: str | tuple[str, str]
    what: tuple[str, ...]
    member: bytes | None = None
    source: Item | None = None
    target: Item | None = None


def difference(
    kind: RecordKind, name: Name, source: Item | None, target: Item | None
) -> Difference | None:
    """How they differ, or None. What neither side has does not differ."""
    assert not isinstance(name, bytes)
    if source is None and target is None:
        return None
    if source is None or target is None:
        what: tuple[str, ...] = (MISSING if target is None else EXTRA,)
    else:
        what = differing(source, target)
    return Difference(kind, name, what, None, source, target) if what else None


def differing(source: Item, target: Item) -> tuple[str, ...]:
    """What two records of one name do not have in common; of sets, nothing."""
    if isinstance(source, KeyValueRecord) and isinstance(target, KeyValueRecord):
        ours, theirs = source.entry, target.entry
        found = {
            "version": ours.version != theirs.version,
            "value": ours.value != theirs.value,
            "expires": not _same_end(ours.expires, theirs.expires),
        }
    elif isinstance(source, DeferredMessage) and isinstance(target, DeferredMessage):
        if source == target:
            return ()
        names = ("due", "visible", "attempt", "token", "payload")
        found = {name: getattr(source, name) != getattr(target, name) for name in names}
    else:
        return ()
    return tuple(name for name, differs in found.items() if differs)


def is_newer(source: Item, target: Item | None) -> bool:
    """Whether the target's record may be an earlier state of the source's: of messages, always."""
    if isinstance(source, KeyValueRecord) and isinstance(target, KeyValueRecord):
        return source.entry.version > target.entry.version
    return True


def _same_end(ours: datetime | None, theirs: datetime | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return abs(ours - theirs) <= EXPIRY_STEP
