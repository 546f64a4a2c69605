"""Counting what there is, and removing what has expired."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from statekeep.backend import BackendStats, KindStats
from statekeep.model import RecordKind

from statekeep_sqlite.driver import Database
from statekeep_sqlite.failures import look
from statekeep_sqlite.schema import LAYOUT

PURGED_AT_ONCE = 1000
"""Expired values removed in one transaction, so that other writers wait for milliseconds."""

COUNTS = {
    RecordKind.KEY_VALUE: "SELECT count(*), total(length(value)) FROM key_value_storage",
    RecordKind.KEY_SET: "SELECT count(DISTINCT key), total(length(member)) FROM key_set_storage",
    RecordKind.DEFERRED: "SELECT count(*), total(length(payload)) FROM deferred_message_storage",
}
PURGE = """
    DELETE FROM key_value_storage WHERE rowid IN (
        SELECT rowid FROM key_value_storage WHERE expires <= ? LIMIT ?
    )
"""


def stats(database: Database) -> BackendStats:
    """See `Backend.stats`."""
    kinds: dict[RecordKind, KindStats] = {}
    with database.snapshot() as connection:
        for kind, sql in COUNTS.items():
            records, size = connection.execute(sql).fetchone()
            kinds[kind] = KindStats(records=records, bytes=int(size))
        pages, free, page_bytes = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    log = look(f"{database.path}-wal")
    return BackendStats(
        pool=database.pool_stats(),
        kinds=kinds,
        stored_bytes=pages * page_bytes,
        details={
            "file": database.path,
            "wal_bytes": 0 if log is None else log.st_size,
            "free_pages": free,
            "page_bytes": page_bytes,
            "layout": LAYOUT,
            "sqlite_version": sqlite3.sqlite_version,
        },
    )


def purge(database: Database, clock: Callable[[], int]) -> int:
    """See `Backend.purge`. The trigger on the table keeps the versions from being used again."""

    def remove(connection: sqlite3.Connection) -> int:
        return connection.execute(PURGE, (clock(), PURGED_AT_ONCE)).rowcount

    total, removed = 0, PURGED_AT_ONCE
    while removed == PURGED_AT_ONCE:
        removed = database.write(remove)
        total += removed
    return total
