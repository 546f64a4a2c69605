"""Paging through all records of a kind, in the order of their names."""

from __future__ import annotations

from typing import Any

from statekeep import cursors
from statekeep.model import KeySetRecord, KeyValueRecord, Page, Record, RecordKind
from statekeep.sql.rows import entry, message

from statekeep_mysql.database import Database
from statekeep_mysql.literals import LIVE, text
from statekeep_mysql.names import Names
from statekeep_mysql.reading import Rows
from statekeep_mysql.statements import COLUMNS

PAGE_BYTES = 4 * 2**20
"""A page of values or payloads ends behind the record that reaches this."""

# The inner query reads the range and its sizes, not what is stored out of line; the window adds the
# sizes up; only of what is kept the whole rows are read and sent.
RECORDS = """
SELECT {columns},n FROM (
    SELECT {order},n FROM (
        SELECT {order},COUNT(*) OVER () AS n,
            SUM(size) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING)-size AS earlier
        FROM (SELECT {order},{size} AS size FROM {table} FORCE INDEX (PRIMARY) WHERE {range}
            ORDER BY {order} LIMIT {limit}) AS found
    ) AS measured WHERE earlier<{bytes}
) AS kept JOIN {table} USING ({order}) ORDER BY {order}
"""
# A set's members lie together: the server jumps from one key to the next ("loose index scan",
# https://dev.mysql.com/doc/refman/8.0/en/group-by-optimization.html).
SETS = (
    "SELECT `key` FROM {table} FORCE INDEX (PRIMARY) WHERE {range} GROUP BY `key` "
    "ORDER BY `key` LIMIT {limit}"
)


def scan(
    database: Database, names: Names, kind: RecordKind, prefix: str, limit: int, cursor: str | None
) -> Page[Record]:
    """See `Backend.scan`."""
    scope = f"{kind.value} {prefix}"
    position = cursors.decode(scope, cursor)
    behind = None if position is None else position.decode()
    if kind is RecordKind.KEY_SET:
        sql = SETS.format(
            table=names.key_set_table, range=_range("`key`", prefix, behind), limit=limit + 1
        )
        keys = [key.decode() for (key,) in database.query(sql)]
        last = keys[limit - 1] if len(keys) > limit else None
        return _page(scope, tuple(KeySetRecord(key) for key in keys[:limit]), last)
    if kind is RecordKind.KEY_VALUE:
        rows, more = cut(database.query(_values(names, prefix, behind, limit + 1)), limit)
        records = tuple(
            KeyValueRecord(key.decode(), entry(key.decode(), *row)) for key, *row, _ in rows
        )
        return _page(scope, records, records[-1].key if more else None)
    rows, more = cut(database.query(_messages(names, prefix, behind, limit + 1)), limit)
    messages = tuple(decoded(row[:-1]) for row in rows)
    return _page(scope, messages, "\0".join(messages[-1].name) if more else None)


def decoded(row: tuple[Any, ...]) -> Any:
    """The message of a row of `COLUMNS`."""
    queue, id, due, payload, token, attempt, visible = row
    return message((queue.decode(), id.decode(), due, payload, token.decode(), attempt, visible))


def cut(rows: Rows, limit: int) -> tuple[Rows, bool]:
    """The rows of a page, and whether others follow; the last column is how many were found."""
    if len(rows) > limit:
        return rows[:limit], True
    return rows, bool(rows) and rows[0][-1] > len(rows)


def _range(column: str, prefix: str, behind: str | None) -> str:
    end = cursors.prefix_end(prefix)
    before = "" if end is None else f" AND {column}<{text(end)}"
    start = f"{column}>={text(prefix)}" if behind is None else f"{column}>{text(behind)}"
    return start + before


def _values(names: Names, prefix: str, behind: str | None, limit: int) -> str:
    where = f"{_range('`key`', prefix, behind)} AND {LIVE}"
    return _records(names.key_value_table, "`key`,version,expires,value", "`key`", where, limit)


def _messages(names: Names, prefix: str, behind: str | None, limit: int) -> str:
    queue, whole, id = prefix.partition("\0")
    first, _, last = (behind or "").partition("\0")
    if whole:
        where = f"queue={text(queue)} AND {_range('id', id, None if behind is None else last)}"
    else:
        where = _range("queue", queue, None)
        if behind is not None:  # a comparison of rows would not be a range of the index
            where += f" AND (queue>{text(first)} OR (queue={text(first)} AND id>{text(last)}))"
    return _records(names.deferred_table, COLUMNS, "queue,id", where, limit)


def _records(table: str, columns: str, order: str, where: str, limit: int) -> str:
    return RECORDS.format(
        columns=columns,
        order=order,
        size="size",
        table=table,
        range=where,
        limit=limit,
        bytes=PAGE_BYTES,
    )


def _page(scope: str, records: tuple[Any, ...], last: str | None) -> Page[Record]:
    return Page(records, None if last is None else cursors.encode(scope, last.encode()))
