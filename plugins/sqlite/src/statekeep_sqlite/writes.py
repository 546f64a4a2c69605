"""Applying transactions: one statement for a single put, one commit for all the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from statekeep.clock import later, to_micros
from statekeep.model import (
    Add,
    Check,
    Committed,
    Conflict,
    Delete,
    KeyValueRecord,
    Operation,
    Outcome,
    Put,
    Remove,
    Restore,
    Transaction,
)

from statekeep_sqlite import messages
from statekeep_sqlite.batch import Applied, Batch
from statekeep_sqlite.driver import Database
from statekeep_sqlite.reads import VERSIONS, rows_of
from statekeep_sqlite.rows import LAYOUT_TABLE, versions, whole

CONDITIONAL = (Put, Delete, Check)

FLOOR = "SELECT value FROM statekeep_layout WHERE name = 'floor'"
RAISE_FLOOR = "UPDATE statekeep_layout SET value = max(value, ?) WHERE name = 'floor'"

# Where a row that they look at was changed from outside, these change nothing: `_Group` says which.
CREATE_ALONE = """
    INSERT INTO key_value_storage (key, value, version)
    SELECT ?1, ?2, given(0, max(?3, value + 1)) FROM statekeep_layout
    WHERE name = 'floor' AND typeof(value) = 'integer'
    ON CONFLICT (key) DO NOTHING
"""
UPDATE_ALONE = """
    UPDATE key_value_storage SET version = given(1, version + 1), value = ?2
    WHERE key = ?1 AND version = ?3 AND expires IS NULL
"""
PUT_ALONE = """
    INSERT INTO key_value_storage (key, value, version)
    SELECT ?1, ?2, given(0, max(?3, value + 1)) FROM statekeep_layout
    WHERE name = 'floor' AND typeof(value) = 'integer'
    ON CONFLICT (key) DO UPDATE SET version = given(1, version + 1), value = excluded.value
    WHERE expires IS NULL AND typeof(version) = 'integer'
"""

PUT = """
    INSERT INTO key_value_storage (key, version, expires, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE
    SET version = excluded.version, expires = excluded.expires, value = excluded.value
"""
DELETE = "DELETE FROM key_value_storage WHERE key = ?"
ADD = "INSERT INTO key_set_storage (key, member) VALUES (?, ?) ON CONFLICT DO NOTHING"
REMOVE = "DELETE FROM key_set_storage WHERE key = ? AND member = ?"


def commit(
    database: Database, transactions: Sequence[Transaction], clock: Callable[[], int]
) -> list[Outcome]:
    """See `Backend.commit`."""
    if len(transactions) == 1:
        operations = transactions[0].operations
        # A time to live counts from the moment of the write, which may have to wait for a lock.
        if len(operations) == 1 and isinstance(operations[0], Put) and operations[0].ttl is None:
            version = _put_alone(database, operations[0], clock())
            if version is not None:
                return [Committed({operations[0].key: version})]

    def apply(connection: sqlite3.Connection) -> list[Outcome]:
        # The clock is read under the lock: waiting for it must not make a version or lease old.
        group = _Group(connection, clock())
        group.load(transactions)
        outcomes = [group.apply(transaction) for transaction in transactions]
        group.batch.flush()
        return outcomes

    return database.write(apply)


def _put_alone(database: Database, put: Put, now: int) -> int | None:
    """The new version; None where a condition failed or what is there has a time to live."""
    if put.expected is None:
        return database.write_alone(PUT_ALONE, (put.key, put.value, now))
    if put.expected == 0:
        return database.write_alone(CREATE_ALONE, (put.key, put.value, now))
    return database.write_alone(UPDATE_ALONE, (put.key, put.value, put.expected))


class _Group:
    """Transactions that are committed together, each of them all or nothing.

    The versions of all keys are read at once and then kept up to date here: under the write
    lock nobody else changes them. Conditions come before any change, so nothing is ever undone.
    """

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._stored: dict[str, tuple[int, int | None]] = {}
        self._known_floor: int | None = None
        self.batch = Batch(connection)

    def load(self, transactions: Sequence[Transaction]) -> None:
        """Reads the versions of all keys that these transactions concern."""
        keys: dict[str, None] = {}
        for transaction in transactions:
            for operation in transaction.operations:
                if isinstance(operation, CONDITIONAL):
                    keys[operation.key] = None
                elif type(operation) is Restore and isinstance(operation.record, KeyValueRecord):
                    keys[operation.record.key] = None
        for key, version, expires in rows_of(self._connection, VERSIONS, tuple(keys)):
            self._stored[key] = versions(key, version, expires)

    def apply(self, transaction: Transaction) -> Outcome:
        """Applies one transaction, or finds its conflicts and changes nothing."""
        current: dict[str, int] = {}
        lost: list[tuple[str, str]] = []
        for operation in transaction.operations:
            if isinstance(operation, CONDITIONAL):
                if operation.expected is not None:
                    version = self._version(operation.key)
                    if version != operation.expected:
                        current[operation.key] = version
            elif isinstance(operation, messages.LEASED):
                self.batch.flush()
                if not messages.holds(self._connection, operation):
                    lost.append(operation.name)
        if current or lost:
            return Conflict(current, tuple(lost))
        applied = Applied()
        for operation in transaction.operations:
            self._apply(operation, applied)
        return Committed(applied.versions, frozenset(applied.deleted), frozenset(applied.cancelled))

    def _apply(self, operation: Operation, applied: Applied) -> None:
        if isinstance(operation, Put):
            applied.versions[operation.key] = self._put(operation)
        elif isinstance(operation, Delete):
            applied.versions[operation.key] = 0
            if self._version(operation.key):
                applied.deleted.add(operation.key)
            self._delete(operation.key)
        elif isinstance(operation, Add):
            for member in operation.members:
                self.batch.add(ADD, (operation.key, member))
        elif isinstance(operation, Remove):
            for member in operation.members:
                self.batch.add(REMOVE, (operation.key, member))
        elif isinstance(operation, Restore) and isinstance(operation.record, KeyValueRecord):
            applied.versions[operation.record.key] = self._restore(operation.record)
        elif not isinstance(operation, Check):
            messages.apply(operation, self.batch, applied, self._now)

    def _put(self, put: Put) -> int:
        stored = self._stored.get(put.key)
        if stored is None:
            version = max(self._now, self._floor() + 1)
        elif self._expired(stored[1]):
            version = max(self._now, self._floor() + 1, stored[0] + 1)
        else:
            version = stored[0] + 1
        expires = None if put.ttl is None else later(self._now, put.ttl)
        self._write(put.key, version, expires, put.value)
        return version

    def _delete(self, key: str) -> None:
        stored = self._stored.pop(key, None)
        if stored is not None:
            self._known_floor = max(self._floor(), stored[0])  # as the trigger does in the file
            self.batch.add(DELETE, (key,))

    def _restore(self, record: KeyValueRecord) -> int:
        entry, stored = record.entry, self._stored.get(record.key)
        if stored is not None and stored[0] > self._floor():
            self._known_floor = stored[0]
            self.batch.add(RAISE_FLOOR, (stored[0],))
        expires = None if entry.expires is None else to_micros(entry.expires)
        self._write(record.key, entry.version, expires, entry.value)
        return entry.version

    def _write(self, key: str, version: int, expires: int | None, value: bytes) -> None:
        self._stored[key] = (version, expires)
        self.batch.add(PUT, (key, version, expires, value))

    def _version(self, key: str) -> int:
        stored = self._stored.get(key)
        return 0 if stored is None or self._expired(stored[1]) else stored[0]

    def _expired(self, expires: int | None) -> bool:
        return expires is not None and expires <= self._now

    def _floor(self) -> int:
        if self._known_floor is None:
            row = self._connection.execute(FLOOR).fetchone()
            self._known_floor = whole(row and row[0], LAYOUT_TABLE, "floor")
        return self._known_floor
