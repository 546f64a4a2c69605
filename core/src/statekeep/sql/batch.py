"""Transactions to rows of what is to be done, and answers back to outcomes: pure functions."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from typing import Any

from attrs import define, field

from statekeep.clock import duration_micros, to_micros
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    DeferredMessage,
    Delete,
    Extend,
    KeyValueRecord,
    Operation,
    Outcome,
    Put,
    Release,
    Remove,
    Restore,
    Schedule,
    Transaction,
)

PUT, DELETE, CHECK, RESTORE = 1, 2, 3, 4
"""What is to be done with a value."""

KEEP, WRITE, WRITE_LATER, DROP, RELEASE, EXTEND = 0, 1, 2, 3, 4, 5
"""What is to be done with a message; WRITE_LATER counts its due time from now."""

WRITTEN, DELETED, CONFLICTING, LOST, CANCELLED = 1, 2, 3, 4, 5
"""What a row of the answer says of an operation."""

MOST_OPERATIONS = 5000
MOST_BYTES = 16 * 2**20
"""What one call holds at most, unless a single transaction is larger."""


@define
class Message:
    """What a transaction comes to, for one message: a condition, and what is written at the end.

    Attributes:
        exists: whether it is there at this point of the transaction; None for as before it.
        ask: whether a cancellation met it as it was before the transaction.
        cancelled: whether a cancellation met what this transaction itself had scheduled.
    """

    token: str | None = None
    what: int = KEEP
    due: int | None = None
    visible: int | None = None
    attempt: int = 0
    holder: str = ""
    payload: bytes | None = None
    exists: bool | None = None
    ask: bool = False
    cancelled: bool = False

    def apply(self, operation: Operation) -> None:
        """Adds what one more operation does."""
        if isinstance(operation, Acknowledge | Release | Extend):
            self.token = operation.token
        if isinstance(operation, Cancel):
            self.ask = self.ask or self.exists is None
            self.cancelled = self.cancelled or self.exists is True
        if isinstance(operation, Cancel | Acknowledge):
            self.what, self.exists = DROP, False
            return
        self.exists = True
        if isinstance(operation, Release):
            self.what, self.due = RELEASE, duration_micros(operation.delay)
        elif isinstance(operation, Extend):
            self.what, self.due = EXTEND, duration_micros(operation.lease)
        elif isinstance(operation, Schedule):
            self._schedule(operation)
        elif isinstance(operation, Restore) and isinstance(operation.record, DeferredMessage):
            record = operation.record
            self.what, self.due = WRITE, to_micros(record.due)
            self.visible, self.attempt = to_micros(record.visible), record.attempt
            self.holder, self.payload = record.token, record.payload

    def _schedule(self, operation: Schedule) -> None:
        self.attempt, self.holder, self.payload = 0, "", operation.payload
        if isinstance(operation.due, datetime):
            self.what, self.due = WRITE, to_micros(operation.due)
            self.visible = self.due
        else:
            self.what, self.due = WRITE_LATER, duration_micros(operation.due)


@define
class Batch:
    """Transactions that concern different records, so that all can be looked at together.

    Attributes:
        numbers: where each transaction stands among those of the `commit`.
        values: `(transaction, what, key, expected, value, until, version)` each.
        messages: `(transaction, name, message)` each.
        sets: `(transaction, key, member, whether it is in)` each.
    """

    numbers: list[int] = field(factory=list)
    values: list[tuple[Any, ...]] = field(factory=list)
    messages: list[tuple[int, tuple[str, str], Message]] = field(factory=list)
    sets: list[tuple[int, str, bytes, bool]] = field(factory=list)
    bytes: int = 0
    _touched: set[object] = field(factory=set)

    def accepts(self, part: Batch) -> bool:
        """Whether a transaction can be looked at together with these."""
        if not self.numbers:
            return True
        size = len(self.values) + len(self.messages) + len(self.sets)
        more = len(part.values) + len(part.messages) + len(part.sets)
        return (
            self.bytes + part.bytes <= MOST_BYTES
            and size + more <= MOST_OPERATIONS
            and self._touched.isdisjoint(part._touched)
        )

    def extend(self, part: Batch) -> None:
        """Takes in the transaction of another batch."""
        self.numbers += part.numbers
        self.values += part.values
        self.messages += part.messages
        self.sets += part.sets
        self.bytes += part.bytes
        self._touched |= part._touched

    @classmethod
    def of(cls, number: int, transaction: Transaction) -> Batch:
        """A batch of one transaction."""
        batch = cls([number])
        messages: dict[tuple[str, str], Message] = {}
        sets: dict[tuple[str, bytes], bool] = {}
        for operation in transaction.operations:
            if isinstance(operation, Add | Remove):
                for member in operation.members:
                    sets[operation.key, member] = isinstance(operation, Add)
            elif isinstance(operation, Put | Delete | Check):
                batch._add_value(number, operation)
            elif isinstance(operation, Restore) and isinstance(operation.record, KeyValueRecord):
                batch._add_restored(number, operation.record)
            else:
                name = _message_name(operation)
                messages.setdefault(name, Message()).apply(operation)
        batch.messages = [(number, name, message) for name, message in messages.items()]
        batch.sets = [(number, *pair, inside) for pair, inside in sets.items()]
        batch.bytes += sum(len(message.payload or b"") for message in messages.values())
        batch.bytes += sum(len(member) for _, member in sets)
        batch._touched.update(row[2] for row in batch.values)
        batch._touched.update((*name, "message") for name in messages)
        batch._touched.update(sets)
        return batch

    def _add_value(self, number: int, operation: Put | Delete | Check) -> None:
        key, expected = operation.key, operation.expected
        if isinstance(operation, Put):
            until = None if operation.ttl is None else duration_micros(operation.ttl)
            row = (number, PUT, key, expected, operation.value, until, None)
            self.bytes += len(operation.value)
        else:
            what = DELETE if isinstance(operation, Delete) else CHECK
            row = (number, what, key, expected, None, None, None)  # type: ignore[assignment]  # a value is not always there
        self.values.append(row)

    def _add_restored(self, number: int, record: KeyValueRecord) -> None:
        entry = record.entry
        until = None if entry.expires is None else to_micros(entry.expires)
        self.values.append((number, RESTORE, record.key, None, entry.value, until, entry.version))
        self.bytes += len(entry.value)

    def outcomes(self, rows: Iterable[tuple[Any, ...]]) -> dict[int, Outcome]:
        """What became of each transaction, by its number.

        Args:
            rows: `(what, item, result)` each: WRITTEN with a version, DELETED, or CONFLICTING with
                the present version, of the value of that number, counted from 1; LOST or
                CANCELLED, of a message.
        """
        versions: dict[int, dict[str, int]] = {number: {} for number in self.numbers}
        deleted: dict[int, set[str]] = {number: set() for number in self.numbers}
        cancelled: dict[int, set[tuple[str, str]]] = {number: set() for number in self.numbers}
        current: dict[int, dict[str, int]] = {}
        lost: dict[int, list[tuple[str, str]]] = {}
        for number, what, key, *_ in self.values:
            if what == DELETE:
                versions[number][key] = 0
        for number, name, message in self.messages:
            if message.cancelled:
                cancelled[number].add(name)
        for what, item, result in rows:
            if what in (LOST, CANCELLED):
                number, name, _ = self.messages[item - 1]
                if what == LOST:
                    lost.setdefault(number, []).append(name)
                else:
                    cancelled[number].add(name)
                continue
            number, _, key, *_ = self.values[item - 1]
            if what == WRITTEN:
                versions[number][key] = result
            elif what == DELETED:
                deleted[number].add(key)
            else:
                current.setdefault(number, {})[key] = result
        return {
            number: Conflict(current.get(number, {}), tuple(lost.get(number, ())))
            if number in current or number in lost
            else Committed(
                versions[number], frozenset(deleted[number]), frozenset(cancelled[number])
            )
            for number in self.numbers
        }


def batches(transactions: Sequence[Transaction], done: Container[int] = ()) -> list[Batch]:
    """The transactions in as few batches as keep those apart, and in order, that share a record.

    Those that are done, by number, are left out.
    """
    found: list[Batch] = []
    for number, transaction in enumerate(transactions):
        if number in done:
            continue
        part = Batch.of(number, transaction)
        if found and found[-1].accepts(part):
            found[-1].extend(part)
        else:
            found.append(part)
    return found


def _message_name(operation: Operation) -> tuple[str, str]:
    named = operation.record if isinstance(operation, Restore) else operation
    assert isinstance(named, DeferredMessage | Schedule | Cancel | Acknowledge | Release | Extend)
    return named.name
