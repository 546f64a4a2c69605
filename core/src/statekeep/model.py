"""What is stored, what can be done to it, and what comes back: frozen data, no behaviour.

Operations are checked when they are made, so a backend may rely on every limit of the contract
except `capabilities.max_value_bytes`, which `Storage` checks because only the backend knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import Attribute, Factory, field, frozen

from statekeep import validate
from statekeep.errors import InvalidArgument, StorageError
from statekeep.validate import MAX_KEY_BYTES

T = TypeVar("T")

NOTHING: frozenset[Any] = frozenset()

_set = object.__setattr__


class RecordKind(Enum):
    """The three primitives, each a namespace of its own."""

    KEY_VALUE = "key_value"
    KEY_SET = "key_set"
    DEFERRED = "deferred"


@frozen(init=False)
class Entry:
    """A stored value.

    Attributes:
        value: the bytes, as they were put.
        version: positive; grows with every write of its key and is never used twice for it.
        expires: the moment from which the value is absent, or None.
    """

    value: bytes = field(repr=lambda value: f"<{len(value)} bytes>")
    version: int
    expires: datetime | None = None

    def __init__(self, value: bytes, version: int, expires: datetime | None = None) -> None:
        # Each read makes two of them: by the slots themselves it takes two thirds of the time.
        _set_value(self, value)
        _set_version(self, version)
        _set_expires(self, expires)


_set_value = Entry.value.__set__  # type: ignore[attr-defined]  # a slot
_set_version = Entry.version.__set__  # type: ignore[attr-defined]
_set_expires = Entry.expires.__set__  # type: ignore[union-attr]


@frozen
class DeferredMessage:
    """A message of a queue.

    Attributes:
        queue: the queue's name.
        id: unique within the queue.
        due: when it was scheduled to be delivered.
        payload: the bytes it was scheduled with.
        token: proves the latest claim; empty when nobody holds the message.
        attempt: how many times it was claimed since it was scheduled, this time included.
        visible: when it can be claimed (again): `due`, the end of the lease, or of a delay.
    """

    queue: str
    id: str
    due: datetime
    payload: bytes = field(repr=lambda payload: f"<{len(payload)} bytes>")
    token: str = field(default="", repr=False)
    attempt: int = 0
    visible: datetime = Factory(lambda self: self.due, takes_self=True)

    @property
    def name(self) -> tuple[str, str]:
        """`(queue, id)`: what identifies the message."""
        return (self.queue, self.id)


@frozen
class KeyValueRecord:
    """What a scan of key-values yields."""

    key: str
    entry: Entry


@frozen
class KeySetRecord:
    """What a scan of key-sets yields: the key; page through the members with `members`."""

    key: str


Record: TypeAlias = KeyValueRecord | KeySetRecord | DeferredMessage


@frozen
class Page(Generic[T]):
    """A part of a longer answer.

    Attributes:
        items: none twice; may be fewer than the limit asked for, even none.
        cursor: pass it to get the next page; None after the last one.
    """

    items: tuple[T, ...] = field(converter=tuple)
    cursor: str | None = None


def _key(_: object, attribute: Attribute[Any], value: Any) -> None:
    # What nearly every key is, without another call.
    short = type(value) is str and 0 < len(value) <= MAX_KEY_BYTES
    if not (short and value.isascii() and "\0" not in value):
        validate.key(value, attribute.name)


def _version(_: object, attribute: Attribute[Any], value: Any) -> None:
    if value is not None:
        validate.version(value, attribute.name)


def _ttl(_: object, __: object, value: Any) -> None:
    if value is not None:
        validate.duration(value, "ttl")


def _bytes(_: object, attribute: Attribute[Any], value: Any) -> None:
    if type(value) is not bytes:
        validate.value(value, attribute.name)


def _due(_: object, __: object, value: Any) -> None:
    validate.due(value)


def _lease(_: object, __: object, value: Any) -> None:
    validate.duration(value, "lease")


def _delay(_: object, __: object, value: Any) -> None:
    validate.duration(value, "delay", zero=True)


def _members(members: Iterable[bytes]) -> tuple[bytes, ...]:
    if isinstance(members, bytes | str):
        raise InvalidArgument("members must be several bytes objects, not one")
    return tuple(dict.fromkeys(validate.member(member) for member in members))


@frozen
class Put:
    """Writes a value; its version becomes the next one.

    Attributes:
        expected: None unconditional, 0 the key must be absent, else its current version.
        ttl: how long the value lives from now; None for ever.
    """

    key: str = field(validator=_key)
    value: bytes = field(validator=_bytes, repr=lambda value: f"<{len(value)} bytes>")
    expected: int | None = field(default=None, validator=_version)
    ttl: timedelta | None = field(default=None, validator=_ttl)


@frozen
class Delete:
    """Removes a value; no error where there is none, unless `expected` says otherwise."""

    key: str = field(validator=_key)
    expected: int | None = field(default=None, validator=_version)


@frozen
class Check:
    """Asserts a key's version (0: absent) and writes nothing."""

    key: str = field(validator=_key)
    expected: int = field(validator=_version)


@frozen
class Add:
    """Adds members to a key-set; those that are there stay."""

    key: str = field(validator=_key)
    members: tuple[bytes, ...] = field(converter=_members)


@frozen
class Remove:
    """Removes members from a key-set; no error for those that are not there."""

    key: str = field(validator=_key)
    members: tuple[bytes, ...] = field(converter=_members)


@frozen
class Schedule:
    """Puts a message in a queue, or moves the one with this id; any lease on it ends.

    Attributes:
        due: an aware datetime, or a timedelta counted from the server's now.
    """

    queue: str = field(validator=_key)
    id: str = field(validator=_key)
    due: datetime | timedelta = field(validator=_due)
    payload: bytes = field(
        default=b"", validator=_bytes, repr=lambda payload: f"<{len(payload)} bytes>"
    )

    @property
    def name(self) -> tuple[str, str]:
        """`(queue, id)`: what identifies the message."""
        return (self.queue, self.id)


@frozen
class Cancel:
    """Removes a message, claimed or not; no error where there is none."""

    queue: str = field(validator=_key)
    id: str = field(validator=_key)

    @property
    def name(self) -> tuple[str, str]:
        """`(queue, id)`: what identifies the message."""
        return (self.queue, self.id)


@frozen
class _LeaseOperation:
    """What acts on a claimed message, and fails the transaction when the token is stale."""

    queue: str = field(validator=_key)
    id: str = field(validator=_key)
    token: str = field(validator=_key, repr=False)

    @property
    def name(self) -> tuple[str, str]:
        """`(queue, id)`: what identifies the message."""
        return (self.queue, self.id)


@frozen
class Acknowledge(_LeaseOperation):
    """Removes a claimed message: its work is done."""


@frozen
class Release(_LeaseOperation):
    """Gives a claimed message back, to be claimed again after `delay`."""

    delay: timedelta = field(default=timedelta(0), validator=_delay)


@frozen
class Extend(_LeaseOperation):
    """Prolongs a claim: it now ends `lease` from now."""

    lease: timedelta = field(validator=_lease, kw_only=True)


@frozen
class Restore:
    """Writes a record as it was: version, expiry, lease, attempt. For import and migration only.

    It replaces what is there, unconditionally: also a value of a newer version, whose numbers
    are then given again, unless the key is deleted before.
    """

    record: KeyValueRecord | DeferredMessage


def with_value(put: Put, value: bytes) -> Put:
    """The same write of other bytes. For layers: nothing is checked again, which takes long."""
    copy = object.__new__(Put)
    _set(copy, "key", put.key)
    _set(copy, "value", value)
    _set(copy, "expected", put.expected)
    _set(copy, "ttl", put.ttl)
    return copy


ValueOperation: TypeAlias = Put | Delete | Check
LeaseOperation: TypeAlias = Acknowledge | Release | Extend
Operation: TypeAlias = (
    Put
    | Delete
    | Check
    | Add
    | Remove
    | Schedule
    | Cancel
    | Acknowledge
    | Release
    | Extend
    | Restore
)


def value_key(operation: Operation) -> str | None:
    """The key whose value this operation concerns, or None."""
    if isinstance(operation, Put | Delete | Check):
        return operation.key
    if isinstance(operation, Restore) and isinstance(operation.record, KeyValueRecord):
        return operation.record.key
    return None


def message_name(operation: Operation) -> tuple[str, str] | None:
    """The `(queue, id)` of the message that this operation concerns, or None."""
    if isinstance(operation, Schedule | Cancel | Acknowledge | Release | Extend):
        return operation.name
    if isinstance(operation, Restore) and isinstance(operation.record, DeferredMessage):
        return operation.record.name
    return None


def _operations(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    return tuple(operations)


def _check_operations(_: object, __: object, operations: tuple[Operation, ...]) -> None:
    if len(operations) == 1:
        return
    keys: set[str] = set()
    messages: set[tuple[str, str]] = set()
    for operation in operations:
        key, name = value_key(operation), message_name(operation)
        if key is not None:
            if key in keys:
                raise InvalidArgument(
                    f"two value operations on key {key!r} in one transaction: join them into one"
                )
            keys.add(key)
        if name is not None:
            if name in messages and isinstance(operation, _LeaseOperation):
                raise InvalidArgument(
                    f"{type(operation).__name__.lower()} of message {name[0]!r}/{name[1]!r} must "
                    "come before anything else on it in the transaction, and once"
                )
            messages.add(name)


@frozen
class Transaction:
    """Operations that are applied in this order, all of them or none.

    At most one value operation per key. A lease operation (acknowledge, release, extend) comes
    before any other operation on its message, so every condition concerns the state before the
    transaction.
    """

    operations: tuple[Operation, ...] = field(converter=_operations, validator=_check_operations)


def with_operations(operations: tuple[Operation, ...]) -> Transaction:
    """A transaction of operations that were checked together, in another form, before."""
    transaction = object.__new__(Transaction)
    _set(transaction, "operations", operations)
    return transaction


@frozen(init=False)
class Committed:
    """The transaction was applied.

    Attributes:
        versions: the version of every key put, deleted (0) or restored.
        deleted: the keys of `Delete` operations that were there.
        cancelled: the `(queue, id)` of `Cancel` operations that were there.
    """

    versions: Mapping[str, int]
    deleted: frozenset[str] = frozenset()
    cancelled: frozenset[tuple[str, str]] = frozenset()

    def __init__(
        self,
        versions: Mapping[str, int],
        deleted: frozenset[str] = NOTHING,
        cancelled: frozenset[tuple[str, str]] = NOTHING,
    ) -> None:
        _set_versions(self, versions)  # as in `Entry`: one for each write
        _set_deleted(self, deleted)
        _set_cancelled(self, cancelled)


_set_versions = Committed.versions.__set__  # type: ignore[attr-defined]
_set_deleted = Committed.deleted.__set__  # type: ignore[attr-defined]
_set_cancelled = Committed.cancelled.__set__  # type: ignore[attr-defined]


@frozen
class Conflict:
    """Nothing of the transaction was applied, because a condition did not hold.

    Attributes:
        current: every key whose version was not the expected one, with its version (0: absent).
        lost: `(queue, id)` of every message whose token is stale.
    """

    current: Mapping[str, int] = field(factory=dict)
    lost: tuple[tuple[str, str], ...] = ()


@frozen
class Failed:
    """The store refused this transaction alone; nothing of it was applied.

    What concerns the whole call (no connection, a lost answer) is raised instead.
    """

    error: StorageError


Outcome: TypeAlias = Committed | Conflict | Failed
