"""What a move concerns, and what the parts of the package call a record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from attrs import field, frozen

from statekeep import validate
from statekeep.errors import InvalidArgument
from statekeep.model import DeferredMessage, KeySetRecord, KeyValueRecord, RecordKind

ALL_KINDS = tuple(RecordKind)

Name: TypeAlias = str | tuple[str, str] | bytes
"""Of a value or set its key, of a message `(queue, id)`; within a set, a member."""


def _kinds(kinds: Iterable[RecordKind]) -> tuple[RecordKind, ...]:
    return tuple(kind for kind in ALL_KINDS if kind in set(kinds))


def _not_empty(_: object, __: object, kinds: tuple[RecordKind, ...]) -> None:
    if not kinds:
        raise InvalidArgument("kinds must name at least one kind of record")


def _prefix(_: object, __: object, prefix: Any) -> None:
    validate.prefix(prefix)


@frozen
class Selection:
    """Which records are meant.

    Attributes:
        prefix: only keys that begin so; of messages, only queues whose name begins so.
        kinds: only these kinds, in the order in which they are worked through.
    """

    prefix: str = field(default="", validator=_prefix)
    kinds: tuple[RecordKind, ...] = field(default=ALL_KINDS, converter=_kinds, validator=_not_empty)


EVERYTHING = Selection()


@frozen
class SetMembers:
    """Members of a key-set, some or all of them."""

    key: str
    members: tuple[bytes, ...]


Item: TypeAlias = KeyValueRecord | DeferredMessage | KeySetRecord | SetMembers


def kind_of(item: Item) -> RecordKind:
    """The kind of a record."""
    if isinstance(item, KeyValueRecord):
        return RecordKind.KEY_VALUE
    return RecordKind.DEFERRED if isinstance(item, DeferredMessage) else RecordKind.KEY_SET


def name_of(item: Item) -> str | tuple[str, str]:
    """What identifies a record among those of its kind."""
    return item.name if isinstance(item, DeferredMessage) else item.key


def size_of(item: Item) -> int:
    """Bytes of what a record holds."""
    if isinstance(item, KeyValueRecord):
        return len(item.entry.value)
    if isinstance(item, DeferredMessage):
        return len(item.payload)
    return sum(map(len, item.members)) if isinstance(item, SetMembers) else 0


def described(item: Item) -> str:
    """A record, for a message to people."""
    if isinstance(item, DeferredMessage):
        return f"message {item.queue!r}/{item.id!r}"
    return f"{'value' if isinstance(item, KeyValueRecord) else 'set'} {item.key!r}"
