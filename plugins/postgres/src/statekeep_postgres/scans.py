"""Paging through all records of a kind, in the order of their names."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from statekeep import cursors
from statekeep.model import KeySetRecord, KeyValueRecord, Page, Record, RecordKind
from statekeep.sql.rows import entry, message

from statekeep_postgres.database import Database
from statekeep_postgres.reading import Rows
from statekeep_postgres.statements import COLUMNS, LIVE, MESSAGE, PAGE_BYTES, Statements
from statekeep_postgres.wire import Statement

# The inner query reads the range; the window adds up sizes, which are known without reading what
# is stored out of line; only what the outer query keeps is read and sent.
RECORDS = """
    SELECT {columns}, n FROM (
        SELECT {columns}, count(*) OVER () AS n, sum(octet_length({content}))
            OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) - octet_length({content}) AS before
        FROM (SELECT {columns} FROM {table} WHERE {range} ORDER BY {order} LIMIT {limit}) AS found
    ) AS measured WHERE before < {bytes} ORDER BY {order}
"""
# A set's members lie together: jump from one key to the next instead of reading them all.
SETS = """
    WITH RECURSIVE names (key) AS (
        (SELECT key FROM {table} WHERE {range} ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT s.key FROM {table} s WHERE s.key > names.key {end} ORDER BY s.key LIMIT 1)
        FROM names WHERE names.key IS NOT NULL
    )
    SELECT key FROM names WHERE key IS NOT NULL LIMIT {limit}
"""


def scan(
    database: Database,
    statements: Statements,
    kind: RecordKind,
    prefix: str,
    limit: int,
    cursor: str | None,
) -> Page[Record]:
    """See `Backend.scan`."""
    scope = f"{kind.value} {prefix}"
    position = cursors.decode(scope, cursor)
    behind = None if position is None else position.decode()
    if kind is RecordKind.KEY_SET:
        statement, bounds = _range(statements, kind, prefix, behind)
        names = [name for (name,) in database.read(statement, *bounds, limit + 1)]
        last = names[limit - 1] if len(names) > limit else None
        return _page(scope, tuple(KeySetRecord(name) for name in names[:limit]), last)
    if kind is RecordKind.KEY_VALUE:
        statement, bounds = _range(statements, kind, prefix, behind)
        rows, more = cut(database.read(statement, *bounds, limit + 1), limit)
        records = tuple(KeyValueRecord(row[0], entry(*row[:4])) for row in rows)
        return _page(scope, records, rows[-1][0] if more else None)
    statement, bounds = _messages(statements, prefix, behind)
    rows, more = cut(database.read(statement, *bounds, limit + 1), limit)
    name = f"{rows[-1][0]}\0{rows[-1][1]}" if more else None
    return _page(scope, tuple(message(row[:-1]) for row in rows), name)


def cut(rows: Rows, limit: int) -> tuple[Rows, bool]:
    """The rows of a page, and whether others follow; the last column is how many were found."""
    if len(rows) > limit:
        return rows[:limit], True
    return rows, bool(rows) and rows[0][-1] > len(rows)


def _range(
    statements: Statements, kind: RecordKind, prefix: str, behind: str | None
) -> tuple[Statement, tuple[str, ...]]:
    end = cursors.prefix_end(prefix)
    comparison = ">=" if behind is None else ">"
    bounds = (prefix if behind is None else behind, *(() if end is None else (end,)))
    make = _sets if kind is RecordKind.KEY_SET else _values
    return make(statements, comparison, end is not None), bounds


def _messages(
    statements: Statements, prefix: str, behind: str | None
) -> tuple[Statement, tuple[str, ...]]:
    queue, whole, id = prefix.partition("\0")
    if whole:
        _, _, last = (behind or "").partition("\0")
        end = cursors.prefix_end(id)
        bounds = (queue, id if behind is None else last, *(() if end is None else (end,)))
        comparison = ">=" if behind is None else ">"
        return _of_queue(statements, comparison, end is not None), bounds
    end = cursors.prefix_end(prefix)
    first, _, last = (behind or prefix).partition("\0")
    bounds = (first, last, *(() if end is None else (end,)))
    return _of_queues(statements, ">=" if behind is None else ">", end is not None), bounds


@lru_cache(maxsize=256)
def _values(statements: Statements, comparison: str, ends: bool) -> Statement:
    where = f"key {comparison} $1{' AND key < $2' if ends else ''} AND {LIVE}"
    columns = "key, version, expires, value"
    return _records(
        statements.key_value, columns, "value", "key", where, 1 + ends,
        ("text", "int8", "int8", "bytea"),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _of_queues(statements: Statements, comparison: str, ends: bool) -> Statement:
    where = f"(queue, id) {comparison} ($1, $2){' AND queue < $3' if ends else ''}"
    return _records(statements.deferred, COLUMNS, "payload", "queue, id", where, 2 + ends, MESSAGE)


@lru_cache(maxsize=256)
def _of_queue(statements: Statements, comparison: str, ends: bool) -> Statement:
    where = f"queue = $1 AND id {comparison} $2{' AND id < $3' if ends else ''}"
    return _records(statements.deferred, COLUMNS, "payload", "queue, id", where, 2 + ends, MESSAGE)


def _records(
    table: str,
    columns: str,
    content: str,
    order: str,
    where: str,
    bounds: int,
    gives: tuple[str, ...],
) -> Statement:
    sql = RECORDS.format(
        columns=columns,
        content=content,
        table=table,
        range=where,
        order=order,
        limit=f"${bounds + 1}",
        bytes=PAGE_BYTES,
    )
    return Statement(sql, ("text",) * bounds + ("int8",), (*gives, "int8"))


@lru_cache(maxsize=256)
def _sets(statements: Statements, comparison: str, ends: bool) -> Statement:
    sql = SETS.format(
        table=statements.key_set,
        range=f"key {comparison} $1{' AND key < $2' if ends else ''}",
        end="AND s.key < $2" if ends else "",
        limit=f"${2 + ends}",
    )
    return Statement(sql, ("text",) * (1 + ends) + ("int8",), ("text",))


def _page(scope: str, records: tuple[Any, ...], last: str | None) -> Page[Record]:
    return Page(records, None if last is None else cursors.encode(scope, last.encode()))
