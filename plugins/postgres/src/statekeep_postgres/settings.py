"""What a server's settings mean for the state it keeps: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from statekeep import examining
from statekeep.examining import advice, good, problem
from statekeep.findings import Finding

from statekeep_postgres.config import PostgresConfig

NAMES = (
    "server_version",
    "server_version_num",
    "server_encoding",
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "autovacuum",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
)
"""The settings that are asked for; a server need not have all of them."""

OLDEST = 130_000
"""PostgreSQL 13, as the server counts."""


def examined(found: Mapping[str, str], config: PostgresConfig) -> Iterator[Finding]:
    """What each setting means.

    Args:
        found: the settings by name.
        config: what this storage is configured to want.
    """
    yield _version(found)
    yield _encoding(found["server_encoding"])
    yield _synchronous_commit(found)
    yield _switch(
        found,
        "fsync",
        "when the machine stops, the whole database may be damaged",
        "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();",
    )
    yield _switch(
        found,
        "full_page_writes",
        "a page that is half written when the machine stops stays damaged",
        "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();",
    )
    yield _switch(
        found,
        "autovacuum",
        "every update leaves a dead row that nothing removes: tables grow and slow down",
        "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf();",
    )
    yield _timeouts(found, config)


def connections(found: Mapping[str, str], config: PostgresConfig, used: int) -> Finding:
    """The server's limit against this pool and the connections that others use now."""
    most = int(found["max_connections"])
    reserved = int(found["superuser_reserved_connections"])
    usable = most - reserved - int(found.get("reserved_connections", "0"))
    pool = config.maximum_pool_size
    return examining.connections(
        "max_connections",
        f"max_connections is {most}, {usable} of them for users",
        usable=usable,
        used=used,
        pool=pool,
        refusal="53300, too many clients",
        remedy=f"maximum_pool_size = {max(1, usable // 2)} under [storage.postgres], or: "
        f"ALTER SYSTEM SET max_connections = {2 * max(usable + 1, pool + used)}; and restart, or "
        "PgBouncer before it",
    )


def _version(found: Mapping[str, str]) -> Finding:
    told = f"PostgreSQL {found['server_version']}"
    if int(found["server_version_num"]) < OLDEST:
        meaning = "statekeep is made for 13 and newer"
        return problem("version", told, meaning, "upgrade the server (pg_upgrade)")
    return good("version", told)


def _encoding(encoding: str) -> Finding:
    if encoding == "UTF8":
        return good("server_encoding", encoding)
    return problem(
        "server_encoding",
        encoding,
        "keys with characters that it lacks are refused, or stored as something else",
        "create another database: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0; and "
        "move the state there",
    )


def _synchronous_commit(found: Mapping[str, str]) -> Finding:
    level = found["synchronous_commit"]
    if level == "off":
        return problem(
            "synchronous_commit",
            level,
            "writes of the last moments are lost when the server stops, though acknowledged",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf(); or of the role: "
            "ALTER ROLE ... RESET synchronous_commit;",
        )
    if level == "local" and found["synchronous_standby_names"]:
        return advice(
            "synchronous_commit",
            f"{level}, with synchronous_standby_names set",
            "commits do not wait for the standby: a failover loses the last ones",
            "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        )
    return good("synchronous_commit", level)


def _switch(found: Mapping[str, str], name: str, meaning: str, remedy: str) -> Finding:
    if found[name] == "on":
        return good(name, "on")
    return problem(name, found[name], meaning, remedy)


def _timeouts(found: Mapping[str, str], config: PostgresConfig) -> Finding:
    told = (
        f"statement_timeout {config.statement_timeout} ms (of this storage), lock_timeout "
        f"{found['lock_timeout']} ms, idle_in_transaction_session_timeout "
        f"{found['idle_in_transaction_session_timeout']} ms; 0 is none"
    )
    if config.statement_timeout:
        return good("timeouts", told)
    return advice(
        "timeouts",
        told,
        "a frozen server or a lock of another program holds a caller for ever",
        "statement_timeout = 60000 under [storage.postgres]",
    )
