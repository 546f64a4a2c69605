"""The tables, the steps that lead to them, and whether those in a file are ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen
from statekeep.errors import ConfigError

from statekeep_sqlite.rows import LAYOUT_TABLE, whole

LAYOUT = 1
"""The layout that this version writes. A change adds a step and raises it."""

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE IF NOT EXISTS statekeep_layout (
            name TEXT NOT NULL PRIMARY KEY,
            value INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # The value comes last, so that reading a version never reads the pages of a large value.
        """CREATE TABLE IF NOT EXISTS key_value_storage (
            key TEXT NOT NULL UNIQUE,
            version INTEGER NOT NULL,
            expires INTEGER,
            value BLOB NOT NULL
        )""",
        """CREATE TABLE IF NOT EXISTS key_set_storage (
            key TEXT NOT NULL,
            member BLOB NOT NULL,
            PRIMARY KEY (key, member)
        ) WITHOUT ROWID""",
        """CREATE TABLE IF NOT EXISTS deferred_message_storage (
            queue TEXT NOT NULL,
            id TEXT NOT NULL,
            due INTEGER NOT NULL,
            visible INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            token TEXT NOT NULL,
            payload BLOB NOT NULL,
            PRIMARY KEY (queue, id)
        ) WITHOUT ROWID""",
        """CREATE INDEX IF NOT EXISTS key_value_storage_expires
            ON key_value_storage (expires) WHERE expires IS NOT NULL""",
        """CREATE INDEX IF NOT EXISTS deferred_message_storage_visible
            ON deferred_message_storage (queue, visible)""",
        # Whoever deletes a value, a person at the shell included, its version is never given out
        # again: creations begin above the floor, even where the clock was set back.
        """CREATE TRIGGER IF NOT EXISTS key_value_storage_floor
            AFTER DELETE ON key_value_storage
            BEGIN
                UPDATE statekeep_layout SET value = OLD.version
                WHERE name = 'floor' AND value < OLD.version AND typeof(OLD.version) = 'integer';
            END""",
        """INSERT INTO statekeep_layout VALUES ('floor', 0)
            ON CONFLICT (name) DO UPDATE SET value = 0 WHERE typeof(value) <> 'integer'""",
    ),
)
"""Step n leads from layout n - 1 to n. Each may be repeated: it creates what is missing."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "statekeep_layout": ("name TEXT", "value INTEGER"),
    "key_value_storage": ("key TEXT", "version INTEGER", "expires INTEGER", "value BLOB"),
    "key_set_storage": ("key TEXT", "member BLOB"),
    "deferred_message_storage": (
        "queue TEXT",
        "id TEXT",
        "due INTEGER",
        "visible INTEGER",
        "attempt INTEGER",
        "token TEXT",
        "payload BLOB",
    ),
}
BESIDES = (
    "key_value_storage_expires",
    "deferred_message_storage_visible",
    "key_value_storage_floor",
)
"""Indexes and triggers."""

FLOOR = "floor"
"""The row of `statekeep_layout` above which creations begin."""


@frozen
class Found:
    """What a file holds of ours.

    Attributes:
        layout: its layout; 0 where there is none.
        missing: the names of tables, indexes and triggers that are not there, and of the row that
            creations look at.
    """

    layout: int
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether `create` would have nothing to do."""
        return self.layout == LAYOUT and not self.missing

    def phrases(self) -> Sequence[str]:
        """What `create` would do, for people."""
        if self.complete:
            return ()
        created = [f"{_kind(name)} {name}" for name in self.missing]
        if 0 < self.layout < LAYOUT:
            created.append(f"layout {LAYOUT} in place of {self.layout}")
        return tuple(created)


def inspect(connection: sqlite3.Connection, path: str) -> Found:
    """Looks at a file, and changes nothing.

    Raises:
        ConfigError: a table of our name is another's, or a newer statekeep wrote the file.
        CorruptValue: its layout is no number.
    """
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise ConfigError(
            f"SQLite file {path} stores text as {encoding}, in which keys have another order: "
            "use another file"
        )
    names = (*COLUMNS, *BESIDES)
    marks = ",".join("?" * len(names))
    objects = dict(
        connection.execute(f"SELECT name, type FROM sqlite_master WHERE name IN ({marks})", names)  # noqa: S608  # only marks
    )
    for name in COLUMNS:
        if name in objects:
            _refuse_foreign(connection, path, name, objects[name])
    missing = [name for name in names if name not in objects]
    layout = 0
    if "statekeep_layout" in objects:
        rows = dict(connection.execute("SELECT name, value FROM statekeep_layout"))
        layout = whole(rows.get("layout", 0), LAYOUT_TABLE, "layout")
        if type(rows.get(FLOOR)) is not int:
            missing.append(FLOOR)
    if layout > LAYOUT:
        raise ConfigError(
            f"SQLite file {path} has layout {layout}, this version of statekeep-sqlite knows "
            f"{LAYOUT}: upgrade it: pip install --upgrade statekeep-sqlite"
        )
    return Found(layout, tuple(missing))


def create(connection: sqlite3.Connection, path: str) -> None:
    """Creates what is missing, in one transaction, so that of several processes one does it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = inspect(connection, path)
        if not found.complete:
            # A file of the present layout that lost an index gets it again: steps are repeatable.
            for step in STEPS[found.layout if found.layout < LAYOUT else 0 :]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO statekeep_layout VALUES ('layout', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (LAYOUT,),
            )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _kind(name: str) -> str:
    if name == FLOOR:
        return "row of statekeep_layout"
    return "table" if name in COLUMNS else "index or trigger"


def _refuse_foreign(connection: sqlite3.Connection, path: str, name: str, kind: str) -> None:
    described = connection.execute(f"PRAGMA table_info({name})").fetchall()
    columns = tuple(f"{column} {declared.upper()}" for _, column, declared, *_ in described)
    if kind != "table" or columns != COLUMNS[name]:
        raise ConfigError(
            f"SQLite file {path} holds a {kind} {name} that is not statekeep's (its columns: "
            f"{', '.join(columns) or 'none'}): rename it, or use another file; it was not changed"
        )
