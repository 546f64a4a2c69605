"""Paging through all records of a kind, in the order of their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from statekeep import cursors
from statekeep.model import KeySetRecord, KeyValueRecord, Page, Record, RecordKind

from statekeep_sqlite.driver import Database, Row
from statekeep_sqlite.rows import entry, message

PAGE_BYTES = 4 * 2**20
"""A page of values or payloads ends behind the record that reaches this."""

NO_END = b""
"""In SQLite's order every blob is behind every text, so this is the end of an open range."""

VALUES = (
    "SELECT key, version, expires, value FROM key_value_storage "
    "WHERE key {} ? AND key < ? ORDER BY key LIMIT ?"
)
# A set's members lie together: jump from one key to the next instead of reading them all.
SETS = """
    WITH RECURSIVE names(key) AS (
        SELECT min(key) FROM key_set_storage WHERE key {} ?1 AND key < ?2
        UNION ALL
        SELECT (
            SELECT min(key) FROM key_set_storage
            WHERE key_set_storage.key > names.key AND key_set_storage.key < ?2
        ) FROM names WHERE names.key IS NOT NULL
        LIMIT ?3
    )
    SELECT key FROM names WHERE key IS NOT NULL
"""
MESSAGES = (
    "SELECT queue, id, due, payload, token, attempt, visible FROM deferred_message_storage "
    "WHERE (queue, id) {} (?, ?) AND queue < ? ORDER BY queue, id LIMIT ?"
)
MESSAGES_OF_QUEUE = (
    "SELECT queue, id, due, payload, token, attempt, visible FROM deferred_message_storage "
    "WHERE queue = ? AND id {} ? AND id < ? ORDER BY id LIMIT ?"
)


def scan(
    database: Database,
    kind: RecordKind,
    prefix: str,
    limit: int,
    cursor: str | None,
    clock: Callable[[], int],
) -> Page[Record]:
    """See `Backend.scan`."""
    scope = f"{kind.value} {prefix}"
    position = cursors.decode(scope, cursor)
    behind = None if position is None else position.decode()
    if kind is RecordKind.KEY_SET:
        return _sets(database, scope, prefix, limit, behind)
    if kind is RecordKind.KEY_VALUE:
        sql, parameters = _range(VALUES, prefix, behind)
        rows, last = _rows(database, sql, (*parameters, limit + 1), limit)
        now = clock()
        records = (_value(row) for row in rows if type(row[2]) is not int or row[2] > now)
        return _page(scope, tuple(records), None if last is None else last[0])
    sql, parameters = _messages(prefix, behind)
    rows, last = _rows(database, sql, (*parameters, limit + 1), limit)
    name = None if last is None else f"{last[0]}\0{last[1]}"
    return _page(scope, tuple(message(row) for row in rows), name)


def _sets(
    database: Database, scope: str, prefix: str, limit: int, behind: str | None
) -> Page[Record]:
    sql, parameters = _range(SETS, prefix, behind)
    names = [name for (name,) in database.read(sql, (*parameters, limit + 1))]
    last = names[limit - 1] if len(names) > limit else None
    return _page(scope, tuple(KeySetRecord(name) for name in names[:limit]), last)


def _rows(
    database: Database, sql: str, parameters: tuple[Any, ...], limit: int
) -> tuple[list[Row], Row | None]:
    """The rows of a page, and the last one where others may follow it."""
    rows: list[Row] = []
    size = 0
    with database.snapshot() as connection:
        for row in connection.execute(sql, parameters):
            if len(rows) == limit:
                return rows, rows[-1]
            rows.append(row)
            size += len(row[3]) if type(row[3]) is bytes else 0  # refused where it becomes a record
            if size >= PAGE_BYTES:  # not worth reading another large one to learn of the end
                return rows, row
    return rows, None


def _range(sql: str, prefix: str, behind: str | None) -> tuple[str, tuple[str | bytes, ...]]:
    end = cursors.prefix_end(prefix) or NO_END
    return (sql.format(">="), (prefix, end)) if behind is None else (sql.format(">"), (behind, end))


def _messages(prefix: str, behind: str | None) -> tuple[str, tuple[str | bytes, ...]]:
    queue, whole, id = prefix.partition("\0")
    if whole:
        _, _, last = (behind or "").partition("\0")
        sql, parameters = _range(MESSAGES_OF_QUEUE, id, None if behind is None else last)
        return sql, (queue, *parameters)
    end = cursors.prefix_end(prefix) or NO_END
    if behind is None:
        return MESSAGES.format(">="), (prefix, "", end)
    queue, _, id = behind.partition("\0")
    return MESSAGES.format(">"), (queue, id, end)


def _value(row: Row) -> KeyValueRecord:
    key, version, expires, value = row
    return KeyValueRecord(key, entry(key, version, expires, value))


def _page(scope: str, records: tuple[Record, ...], last: str | None) -> Page[Record]:
    return Page(records, None if last is None else cursors.encode(scope, last.encode()))
