"""Deferred messages: what operations do to them, and claims."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import uuid4

from statekeep.clock import later, resolve_due, to_micros
from statekeep.model import (
    Acknowledge,
    Cancel,
    DeferredMessage,
    Extend,
    Release,
    Restore,
    Schedule,
)

from statekeep_sqlite.batch import Applied, Batch
from statekeep_sqlite.driver import Database
from statekeep_sqlite.rows import MESSAGE_TABLE, message, whole

LEASED = (Acknowledge, Release, Extend)
NOBODY = ""

MessageOperation: TypeAlias = Schedule | Cancel | Acknowledge | Release | Extend | Restore

HELD = "SELECT token FROM deferred_message_storage WHERE queue = ? AND id = ?"
KEEP = """
    INSERT INTO deferred_message_storage (queue, id, due, visible, attempt, token, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (queue, id) DO UPDATE
    SET due = excluded.due, visible = excluded.visible, attempt = excluded.attempt,
        token = excluded.token, payload = excluded.payload
"""
DROP = "DELETE FROM deferred_message_storage WHERE queue = ? AND id = ?"
RELEASE = "UPDATE deferred_message_storage SET visible = ?, token = '' WHERE queue = ? AND id = ?"
EXTEND = "UPDATE deferred_message_storage SET visible = ? WHERE queue = ? AND id = ?"

READY = "SELECT 1 FROM deferred_message_storage WHERE queue = ? AND visible <= ? LIMIT 1"
DUE = """
    SELECT id, due, payload, attempt FROM deferred_message_storage
    WHERE queue = ? AND visible <= ? ORDER BY visible, id LIMIT ?
"""
TAKE = """
    UPDATE deferred_message_storage SET token = ?, visible = ?, attempt = ?
    WHERE queue = ? AND id = ?
"""


def holds(connection: sqlite3.Connection, operation: Acknowledge | Release | Extend) -> bool:
    """Whether the operation's token is the one of the latest claim."""
    row = connection.execute(HELD, operation.name).fetchone()
    return row is not None and row[0] == operation.token


def apply(operation: MessageOperation, batch: Batch, applied: Applied, now: int) -> None:
    """Does what an operation says; its token, if it has one, has been found to hold."""
    if isinstance(operation, Schedule):
        due = resolve_due(operation.due, now)
        batch.add(KEEP, (*operation.name, due, due, 0, NOBODY, operation.payload))
    elif isinstance(operation, Cancel):
        if batch.run(DROP, operation.name):
            applied.cancelled.add(operation.name)
    elif isinstance(operation, Acknowledge):
        batch.add(DROP, operation.name)
    elif isinstance(operation, Release):
        batch.add(RELEASE, (later(now, operation.delay), *operation.name))
    elif isinstance(operation, Extend):
        batch.add(EXTEND, (later(now, operation.lease), *operation.name))
    elif isinstance(operation.record, DeferredMessage):
        batch.add(KEEP, _restored(operation.record))


def claim(
    database: Database, queue: str, limit: int, lease: timedelta, clock: Callable[[], int]
) -> list[DeferredMessage]:
    """See `Backend.claim`."""
    if not database.read(READY, (queue, clock())):
        return []  # pollers of an idle queue do not keep writers from their work

    def take(connection: sqlite3.Connection) -> list[DeferredMessage]:
        now = clock()
        until, token = later(now, lease), uuid4().hex
        rows = [
            (queue, id, due, payload, f"{token}{number:x}", _next(attempt, queue, id), until)
            for number, (id, due, payload, attempt) in enumerate(
                connection.execute(DUE, (queue, now, limit)).fetchall()
            )
        ]
        claimed = [message(row) for row in rows]
        connection.executemany(TAKE, [_taken(row) for row in rows])
        return claimed

    return database.write(take)


def _next(attempt: Any, queue: str, id: object) -> int:
    return whole(attempt, MESSAGE_TABLE, f"{queue}/{id}") + 1


def _taken(row: tuple[Any, ...]) -> tuple[Any, ...]:
    queue, id, _, _, token, attempt, visible = row
    return token, visible, attempt, queue, id


def _restored(record: DeferredMessage) -> tuple[Any, ...]:
    due, visible = to_micros(record.due), to_micros(record.visible)
    return (*record.name, due, visible, record.attempt, record.token, record.payload)
