"""What `examine()` asks the server: its catalogs and statistics, and the tables of a storage."""

from __future__ import annotations

from statekeep import examining
from statekeep.clock import MICROSECOND
from statekeep.examining import MOST_QUEUES, OVERDUE

from statekeep_postgres.functions import NOW, STATEMENT_NOW
from statekeep_postgres.names import Names
from statekeep_postgres.wire import Statement

SETTINGS = Statement(
    "SELECT name::text, setting FROM pg_settings WHERE name = ANY ($1)", ("text[]",),
    ("text", "text"),
)  # fmt: skip
STATE = Statement(
    """
    SELECT pg_is_in_recovery(), current_user::text,
        pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
        (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database),
        (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database())
    """,
    (),
    ("bool", "text", "bool", "int8", "int4"),
)
STANDBYS = Statement(
    """
    SELECT application_name, coalesce(sync_state, ''), coalesce(state, ''),
        coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint
    FROM pg_stat_replication
    """,
    (),
    ("text", "text", "text", "int8"),
)
SLOTS = Statement(
    """
    SELECT slot_name::text, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
    FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL
    """,
    (),
    ("text", "int8"),
)
TRANSACTIONS = Statement(
    """
    SELECT pid, usename::text, extract(epoch FROM clock_timestamp() - xact_start)::bigint
    FROM pg_stat_activity
    WHERE xact_start <= clock_timestamp() - $1 * interval '1 second'
        AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    UNION ALL
    SELECT 0, gid, extract(epoch FROM clock_timestamp() - prepared)::bigint
    FROM pg_prepared_xacts WHERE prepared <= clock_timestamp() - $1 * interval '1 second'
    ORDER BY 3 DESC
    """,
    ("int8",),
    ("int4", "text", "int8"),
)
TABLES = Statement(
    """
    SELECT s.relname::text, s.n_live_tup, s.n_dead_tup, coalesce(s.last_autovacuum::text, 'never'),
        coalesce('autovacuum_enabled=false' = ANY (c.reloptions), false)
            OR coalesce('autovacuum_enabled=off' = ANY (c.reloptions), false)
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.schemaname = $1 AND s.relname = ANY ($2) ORDER BY s.relname
    """,
    ("text", "text[]"),
    ("text", "int8", "int8", "text", "bool"),
)
INDEXES = Statement(
    """
    SELECT x.relname::text, i.indisvalid AND i.indisready
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE n.nspname = $1 AND t.relname = ANY ($2) ORDER BY x.relname
    """,
    ("text", "text[]"),
    ("text", "bool"),
)
CLOCK = Statement(f"SELECT {NOW}", (), ("int8",))


def expired(names: Names, most: int) -> Statement:
    """How many values have expired; so many are counted at most."""
    return Statement(
        f"SELECT count(*) FROM (SELECT 1 FROM {names.q(names.key_value)} "  # noqa: S608  # quoted
        f"WHERE expires <= {STATEMENT_NOW} LIMIT {most}) AS x",
        (),
        ("int8",),
    )


def queues(names: Names) -> Statement:
    """The queues, found by one look into the primary key each, and their earliest messages."""
    table = names.q(names.deferred)
    late = f"visible <= {STATEMENT_NOW} - {OVERDUE // MICROSECOND}"
    return Statement(
        f"""
        WITH RECURSIVE names (queue) AS (
            (SELECT queue FROM {table} ORDER BY queue LIMIT 1)
            UNION ALL
            SELECT (SELECT t.queue FROM {table} AS t WHERE t.queue > names.queue
                ORDER BY t.queue LIMIT 1)
            FROM names WHERE names.queue IS NOT NULL
        )
        SELECT n.queue, m.* FROM
            (SELECT queue FROM names WHERE queue IS NOT NULL LIMIT {MOST_QUEUES + 1}) AS n,
            LATERAL (
                SELECT count(*), count(*) FILTER (WHERE {late}),
                    min(visible) FILTER (WHERE {late}),
                    count(*) FILTER (WHERE {late} AND token <> ''),
                    count(*) FILTER (WHERE attempt >= {examining.MANY_ATTEMPTS}), max(attempt)
                FROM (SELECT visible, attempt, token FROM {table} AS t WHERE t.queue = n.queue
                    ORDER BY visible, id LIMIT {examining.MOST_MESSAGES}) AS x
            ) AS m
        """,  # noqa: S608  # quoted names, numbers
        (),
        ("text", "int8", "int8", "int8", "int8", "int8", "int4"),
    )
