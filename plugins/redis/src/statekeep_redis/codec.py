"""What is stored and sent: headers, fields, and transactions as arguments of `commit.lua`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from struct import Struct
from typing import Any

from attrs import field, mutable
from statekeep.clock import duration_micros, from_micros, to_micros
from statekeep.errors import CorruptValue
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    DeferredMessage,
    Delete,
    Entry,
    Extend,
    KeyValueRecord,
    LeaseOperation,
    Operation,
    Outcome,
    Put,
    Release,
    Remove,
    Restore,
    Schedule,
    Transaction,
)

from statekeep_redis.names import Names

HEADER = Struct(">QQ")
"""Before every value: its version, and the end of its time in microseconds (0: none)."""

FIELDS = Struct(">qqI")
"""Of a message: due and visible in microseconds, attempts; the token follows."""

FAILED = Struct(">IQ")
"""Of a condition that did not hold: the number of its operation, and the version found."""

YES = ord("1")

_version = Struct(">Q").pack
_signed = Struct(">q").pack


def entry(name: str, stored: bytes) -> Entry:
    """The entry in a stored value."""
    if len(stored) < HEADER.size:
        raise corrupt(f"the value of {name!r}")
    version, expires = HEADER.unpack_from(stored)
    try:
        ends = from_micros(expires) if expires else None
    except OverflowError:
        raise corrupt(f"the value of {name!r}") from None
    return Entry(stored[HEADER.size :], version, ends)


def message(queue: str, id: str, fields: bytes, payload: bytes) -> DeferredMessage:
    """A message from its two fields."""
    if len(fields) < FIELDS.size:
        raise corrupt(f"the message {queue!r}/{id!r}")
    due, visible, attempt = FIELDS.unpack_from(fields)
    try:
        token = fields[FIELDS.size :].decode()
        times = from_micros(due), from_micros(visible)
    except (OverflowError, UnicodeDecodeError):
        raise corrupt(f"the message {queue!r}/{id!r}") from None
    return DeferredMessage(queue, id, times[0], payload, token, attempt, times[1])


def corrupt(what: str) -> CorruptValue:
    """The error for what this plugin cannot have written."""
    return CorruptValue(
        f"redis: {what} is not as statekeep writes it: does another program write below the prefix?"
    )


@mutable
class Arguments:
    """A transaction as the script takes it.

    Attributes:
        keys: what the operations touch, in their order.
        letters: one for each operation.
        values: the arguments of each operation, in order.
        size: bytes of the largest value or payload.
    """

    names: Names
    keys: list[bytes] = field(factory=list)
    letters: str = ""
    values: list[bytes] = field(factory=list)
    size: int = 0

    def add(self, operation: Operation) -> None:
        """Appends one operation."""
        WRITERS[type(operation)](self, operation)

    def put(self, operation: Put) -> None:
        """P: expected, ttl, value."""
        expected, ttl = operation.expected, operation.ttl
        self.letters += "P"
        self.keys.append(self.names.value(operation.key))
        self.values += (
            b"" if expected is None else _version(expected),
            b"" if ttl is None else _micros(ttl),
            operation.value,
        )
        self.size = max(self.size, len(operation.value))

    def delete(self, operation: Delete | Check) -> None:
        """D or C: expected."""
        self.letters += "D" if isinstance(operation, Delete) else "C"
        self.keys.append(self.names.value(operation.key))
        self.values.append(b"" if operation.expected is None else _version(operation.expected))

    def add_members(self, operation: Add) -> None:
        """A: how many, then a score and a member each."""
        self.letters += "A"
        self.keys.append(self.names.members(operation.key))
        self.values.append(b"%d" % len(operation.members))
        for member in operation.members:
            self.values += (b"0", member)

    def remove_members(self, operation: Remove) -> None:
        """R: how many, then the members."""
        self.letters += "R"
        self.keys.append(self.names.members(operation.key))
        self.values += (b"%d" % len(operation.members), *operation.members)

    def schedule(self, operation: Schedule) -> None:
        """S: id, name, due, due in microseconds, payload."""
        due = operation.due
        moment = _micros(due) if isinstance(due, timedelta) else b"%d" % to_micros(due)
        exact = _signed(to_micros(due)) if isinstance(due, datetime) else b""
        self._message("S", operation.queue, operation.id, exact, moment, operation.payload)
        self.size = max(self.size, len(operation.payload))

    def cancel(self, operation: Cancel) -> None:
        """K: id, name."""
        self._message("K", operation.queue, operation.id)

    def lease(self, operation: LeaseOperation) -> None:
        """X, L or E: id, name, token, and how long."""
        token = operation.token.encode()
        if isinstance(operation, Acknowledge):
            self._message("X", operation.queue, operation.id, token)
        elif isinstance(operation, Release):
            self._message("L", operation.queue, operation.id, token, _micros(operation.delay))
        else:
            self._message("E", operation.queue, operation.id, token, _micros(operation.lease))

    def restore(self, operation: Restore) -> None:
        """V: version, expiry twice, value; M: id, name, fields, visible, payload."""
        record = operation.record
        if isinstance(record, KeyValueRecord):
            entry = record.entry
            expires = 0 if entry.expires is None else to_micros(entry.expires)
            ends = b"" if entry.expires is None else b"%d" % -(-expires // 1000)
            self.letters += "V"
            self.keys.append(self.names.value(record.key))
            self.values += (_version(entry.version), _signed(expires), ends, entry.value)
            self.size = max(self.size, len(entry.value))
        else:
            visible = to_micros(record.visible)
            fields = FIELDS.pack(to_micros(record.due), visible, record.attempt)
            fields += record.token.encode()
            self._message("M", record.queue, record.id, fields, b"%d" % visible, record.payload)
            self.size = max(self.size, len(record.payload))

    def _message(self, letter: str, queue: str, id: str, *values: bytes) -> None:
        self.letters += letter
        self.keys += self.names.queue(queue)
        self.values += (id.encode(), b"m:%b\0%b" % (queue.encode(), id.encode()), *values)


def _micros(duration: timedelta) -> bytes:
    return b"%d" % duration_micros(duration)


WRITERS: dict[type, Callable[[Arguments, Any], None]] = {
    Put: Arguments.put,
    Delete: Arguments.delete,
    Check: Arguments.delete,
    Add: Arguments.add_members,
    Remove: Arguments.remove_members,
    Schedule: Arguments.schedule,
    Cancel: Arguments.cancel,
    Acknowledge: Arguments.lease,
    Release: Arguments.lease,
    Extend: Arguments.lease,
    Restore: Arguments.restore,
}


def replacement(put: Put) -> tuple[bytes, bytes]:
    """The arguments of `put.lua`: the header expected, and what is to be stored."""
    if put.expected is None:
        return b"", put.value
    return HEADER.pack(put.expected, 0), HEADER.pack(put.expected + 1, 0) + put.value


def replaced(put: Put, reply: bytes) -> Outcome | None:
    """What `put.lua` answered; None where it has done nothing."""
    what = reply[:1]
    if what == b"1":
        version = int.from_bytes(reply[1:], "big") or (put.expected or 0) + 1
        return Committed({put.key: version})
    return Conflict({put.key: int.from_bytes(reply[1:], "big")}) if what == b"0" else None


def outcome(transaction: Transaction, reply: bytes) -> Committed | Conflict:
    """The script's answer in the words of the contract."""
    operations = transaction.operations
    if reply[:1] == b"0":
        return _conflict(operations, reply)
    place = 1
    versions: dict[str, int] = {}
    deleted: set[str] = set()
    cancelled: set[tuple[str, str]] = set()
    for operation in operations:
        if isinstance(operation, Put):
            versions[operation.key] = int.from_bytes(reply[place : place + 8], "big")
            place += 8
        elif isinstance(operation, Delete):
            versions[operation.key] = 0
            if reply[place] == YES:
                deleted.add(operation.key)
            place += 1
        elif isinstance(operation, Cancel):
            if reply[place] == YES:
                cancelled.add(operation.name)
            place += 1
        elif isinstance(operation, Restore) and isinstance(operation.record, KeyValueRecord):
            versions[operation.record.key] = operation.record.entry.version
    return Committed(versions, frozenset(deleted), frozenset(cancelled))


def _conflict(operations: Sequence[Operation], reply: bytes) -> Conflict:
    current: dict[str, int] = {}
    lost: list[tuple[str, str]] = []
    for number, version in FAILED.iter_unpack(reply[1:]):
        operation = operations[number - 1]
        if isinstance(operation, Put | Delete | Check):
            current[operation.key] = version
        elif isinstance(operation, Acknowledge | Release | Extend):
            lost.append(operation.name)
    return Conflict(current, tuple(lost))
