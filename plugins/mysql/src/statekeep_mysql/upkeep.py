"""What operators ask for: counts, and the end of what has expired."""

from __future__ import annotations

import zlib

from statekeep.backend import BackendStats
from statekeep.sql.counting import backend_stats

from statekeep_mysql.database import Database
from statekeep_mysql.driver import Connection
from statekeep_mysql.literals import data, lists
from statekeep_mysql.statements import Statements

PURGE_BATCH = 1000
"""Expired values that are removed in one transaction."""


def stats(database: Database, statements: Statements) -> BackendStats:
    """See `Backend.stats`."""
    with database.patient() as connection:
        *counted, total = (result.rows[0] for result in connection.run(statements.stats()))
    sizes = ((int(records), int(size)) for records, size in counted)
    stored = None if total[0] is None else int(total[0])
    return backend_stats(database.pool.counters(), sizes, stored)


def purge(database: Database, statements: Statements) -> int:
    """See `Backend.purge`."""
    purged = 0
    while True:
        count = database.writing(lambda connection: _purge(connection, statements))
        purged += count
        if count < PURGE_BATCH:
            return purged


def _purge(connection: Connection, statements: Statements) -> int:
    names = statements.names
    rows = connection.run(("BEGIN", statements.expired(PURGE_BATCH)))[1].rows
    connection.broken = True  # a transaction is open
    floors: dict[int, int] = {}
    for key, version in rows:
        shard = zlib.crc32(key) & 0xFFFF  # as `script.SHARD`
        floors[shard] = max(version, floors.get(shard, 0))
    rising = lists(f"({shard},{version})" for shard, version in sorted(floors.items()))
    script = [
        *(
            f"INSERT INTO {names.floor_table} (shard,version) VALUES {some} "  # noqa: S608
            "ON DUPLICATE KEY UPDATE version=GREATEST(version,VALUES(version))"
            for some in rising
        ),
        *(
            f"DELETE FROM {names.key_value_table} WHERE `key` IN ({some}) "  # noqa: S608
            f"ORDER BY `key` LIMIT {PURGE_BATCH}"
            for some in lists(data(key) for key, _ in rows)
        ),
    ]
    connection.run((*script, "COMMIT"), writes=bool(script), resume=True)
    return len(rows)
