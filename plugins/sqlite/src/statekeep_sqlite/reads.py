"""The statements that read key-values and key-sets by key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from statekeep import cursors
from statekeep.model import DeferredMessage, Entry, Page

from statekeep_sqlite.driver import Database, Row
from statekeep_sqlite.rows import damaged, entry, message

MOST_KEYS = 512
"""Keys asked for in one statement; above, several read one snapshot."""

GET = "SELECT version, expires, value FROM key_value_storage WHERE key = ?"
GET_MANY = "SELECT key, version, expires, value FROM key_value_storage WHERE key IN ({})"
VERSIONS = "SELECT key, version, expires FROM key_value_storage WHERE key IN ({})"
MEMBERS = "SELECT key, member FROM key_set_storage WHERE key = ?"
MEMBERS_MANY = "SELECT key, member FROM key_set_storage WHERE key IN ({})"
CONTAINS = "SELECT member FROM key_set_storage WHERE key = ? AND member IN ({})"
MESSAGE = (
    "SELECT queue, id, due, payload, token, attempt, visible FROM deferred_message_storage "
    "WHERE queue = ? AND id = ?"
)
PAGE = "SELECT member FROM key_set_storage WHERE key = ? AND member > ? ORDER BY member LIMIT ?"


def get_many(database: Database, keys: Sequence[str], clock: Callable[[], int]) -> dict[str, Entry]:
    """See `Backend.get_many`."""
    if len(keys) == 1:
        rows = database.read(GET, keys)
        if rows:
            version, expires, value = rows[0]
            if expires is None and type(value) is bytes and type(version) is int:
                return {keys[0]: Entry(value, version)}
        rows = [(keys[0], *row) for row in rows]
    else:
        rows = _read_many(database, GET_MANY, keys)
    now = clock()
    return {
        key: entry(key, version, expires, value)
        for key, version, expires, value in rows
        if type(expires) is not int or expires > now
    }


def members_many(database: Database, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
    """See `Backend.members_many`."""
    if len(keys) == 1:
        rows = database.read(MEMBERS, keys)
    else:
        rows = _read_many(database, MEMBERS_MANY, keys)
    sets: dict[str, list[bytes]] = {key: [] for key in keys}
    for key, member in rows:
        sets[key].append(_member(key, member))
    return {key: frozenset(members) for key, members in sets.items()}


def members(database: Database, key: str, limit: int, cursor: str | None) -> Page[bytes]:
    """See `Backend.members`."""
    scope = f"members {key}"
    position = cursors.decode(scope, cursor) or b""
    rows = database.read(PAGE, (key, position, limit + 1))
    found = [_member(key, member) for (member,) in rows[:limit]]
    more = len(rows) > limit
    return Page(tuple(found), cursors.encode(scope, found[-1]) if more else None)


def contains(database: Database, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
    """See `Backend.contains`."""
    found: set[bytes] = set()
    for sql, part in in_parts(CONTAINS, members):
        found.update(member for (member,) in database.read(sql, (key, *part)))
    return frozenset(found)


def messages_many(
    database: Database, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], DeferredMessage]:
    """See `Backend.messages_many`."""
    with database.snapshot() as connection:
        rows = [row for name in names for row in connection.execute(MESSAGE, name)]
    found = (message(row) for row in rows)
    return {each.name: each for each in found}


def in_parts(sql: str, names: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Statements with `IN` lists that together ask for all names, and their parameters.

    A list is filled up with NULLs, which match nothing, to the next power of two: ten lengths
    instead of hundreds leave every statement prepared.
    """
    for start in range(0, len(names), MOST_KEYS):
        part = names[start : start + MOST_KEYS]
        length = 1 << (len(part) - 1).bit_length()
        yield _in_list(sql, length), (*part, *(None,) * (length - len(part)))


def rows_of(connection: sqlite3.Connection, sql: str, names: Sequence[Any]) -> list[Row]:
    """The rows that `sql`, with its `IN` list, finds for all names."""
    rows: list[Row] = []
    for statement, part in in_parts(sql, names):
        rows += connection.execute(statement, part).fetchall()
    return rows


def _read_many(database: Database, sql: str, names: Sequence[str]) -> list[Row]:
    if len(names) > MOST_KEYS:
        with database.snapshot() as connection:
            return rows_of(connection, sql, names)
    return [
        row for statement, part in in_parts(sql, names) for row in database.read(statement, part)
    ]


@cache
def _in_list(sql: str, length: int) -> str:
    return sql.format(",".join("?" * length))


def _member(key: str, member: Any) -> bytes:
    if type(member) is not bytes:
        raise damaged("key_set_storage", key)
    return member
