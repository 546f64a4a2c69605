"""SQLite by hand: what a careful person writes without a library, at the same settings."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.workload import KEYS, VALUE, batches, key

TABLES = """
CREATE TABLE kv (
    key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, expires INTEGER, value BLOB NOT NULL
);
CREATE TABLE tag (key TEXT NOT NULL, member BLOB NOT NULL, PRIMARY KEY (key, member)) WITHOUT ROWID;
CREATE TABLE timer (
    queue TEXT NOT NULL, id TEXT NOT NULL, due INTEGER NOT NULL, visible INTEGER NOT NULL,
    attempt INTEGER NOT NULL, token TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (queue, id)
) WITHOUT ROWID;
CREATE INDEX timer_visible ON timer (queue, visible);
"""

GET = "SELECT version, expires, value FROM kv WHERE key = ?"
GET_MANY = f"SELECT key, version, expires, value FROM kv WHERE key IN ({','.join('?' * 100)})"
PUT = """
    INSERT INTO kv (key, version, expires, value) VALUES (?, 1, NULL, ?)
    ON CONFLICT (key) DO UPDATE SET version = version + 1, expires = NULL, value = excluded.value
"""
PUT_AT = "UPDATE kv SET version = version + 1, value = ? WHERE key = ? AND version = ?"
CHECK = "SELECT version FROM kv WHERE key = ?"
DELETE = "DELETE FROM kv WHERE key = ?"
ADD = "INSERT INTO tag VALUES (?, ?) ON CONFLICT DO NOTHING"
REMOVE = "DELETE FROM tag WHERE key = ? AND member = ?"
SCHEDULE = """
    INSERT INTO timer VALUES (?1, ?2, ?3, ?3, 0, '', ?4)
    ON CONFLICT DO UPDATE SET due = excluded.due, visible = excluded.visible, attempt = 0,
    token = '', payload = excluded.payload
"""
CANCEL = "DELETE FROM timer WHERE queue = ? AND id = ?"


class Bare:
    """One connection to one file."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.connection.executescript(TABLES)

    def fill(self, keys: int = KEYS, value: bytes = VALUE) -> None:
        """Puts a value under every key."""
        for numbers in batches(keys):
            self.connection.execute("BEGIN")
            self.connection.executemany(PUT, [(key(number), value) for number in numbers])
            self.connection.execute("COMMIT")

    def get(self, name: str) -> tuple[int, int | None, bytes] | None:
        """One SELECT."""
        row: tuple[int, int | None, bytes] | None
        row = self.connection.execute(GET, (name,)).fetchone()
        return row

    def get_many(self, names: tuple[str, ...]) -> list[tuple[str, int, int | None, bytes]]:
        """One SELECT with an IN list of 100."""
        return self.connection.execute(GET_MANY, names).fetchall()

    def put(self, name: str) -> None:
        """One upsert, which commits."""
        self.connection.execute(PUT, (name, VALUE))

    def put_short(self, name: str) -> None:
        """The same with a short value."""
        self.connection.execute(PUT, (name, b"short"))

    def transact(self, number: int, version: int) -> int:
        """The transaction of `embedded.transaction`, statement by statement."""
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        if execute(CHECK, ("config",)).fetchone() != (1,):
            raise AssertionError("the check must hold")
        if execute(PUT_AT, (VALUE, "order", version)).rowcount != 1:
            raise AssertionError("the version must be the expected one")
        execute(PUT, ("history", VALUE))
        execute(PUT, (f"step/{number}", VALUE))
        execute(DELETE, (f"step/{number - 1}",))
        execute(ADD, ("tag/open", b"%d" % number))
        execute(ADD, ("tag/eu", b"%d" % number))
        execute(REMOVE, ("tag/open", b"%d" % (number - 1)))
        due = time.time_ns() // 1000 + 60_000_000
        execute(SCHEDULE, ("timers", f"{number}", due, b"payload"))
        execute(CANCEL, ("timers", f"{number - 1}"))
        execute("COMMIT")
        return version + 1


@contextmanager
def bare(path: Path, synchronous: str) -> Iterator[Bare]:
    """An open file with its tables."""
    made = Bare(path, synchronous)
    try:
        yield made
    finally:
        made.connection.close()
