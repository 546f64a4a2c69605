"""The options of the PostgreSQL backend."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from statekeep.infinitic import create_option, undecodable_option
from statekeep.options import OptionError, at_least, between, not_blank, one_of, option, positive
from statekeep.passwords import command_option, one_way
from statekeep.sql.addresses import host_problem

MAX_IDENTIFIER_BYTES = 63
"""Longer names would be cut by the server, and two of them could become one."""

SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")


def identifier(value: str) -> str | None:
    """A name of a database, schema or table; it is quoted, so any other character is fine."""
    if not value.strip() or "\0" in value:
        return "must be a name"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_IDENTIFIER_BYTES:
        return f"must have at most {MAX_IDENTIFIER_BYTES} bytes"
    return None


@frozen(kw_only=True)
class PostgresConfig:
    """A schema in a database. Times are in milliseconds, as in HikariCP."""

    host: str = option(
        "localhost",
        "server; several with commas, each with or without a `:port`; a folder for a unix socket",
        not_blank,
        host_problem,
    )
    port: int = option(5432, "port where `host` names none", between(1, 65535))
    username: str = option("postgres", "user", not_blank)
    password: str | None = option(None, "password", secret=True)
    password_file: str | None = option(
        None, "file with the password, read again for every new connection", not_blank
    )
    password_command: Any = command_option()  # noqa: RUF009  # it makes an attrs field
    database: str = option("postgres", "database; created where it is missing", identifier)
    schema: str = option("infinitic", "schema; created where it is missing", identifier)
    key_set_table: str = option("key_set_storage", "table of key-sets", identifier)
    key_value_table: str = option("key_value_storage", "table of key-values", identifier)
    deferred_table: str = option(
        "deferred_message_storage", "table of deferred messages", identifier
    )
    create: bool = option(True, "create what is missing; else it is only checked")
    maximum_pool_size: int = option(10, "connections at most", positive)
    minimum_idle: int | None = option(
        None, "idle connections kept ready; as many as the maximum without it", at_least(0)
    )
    idle_timeout: int = option(
        600_000, "milliseconds until an idle connection beyond the minimum is closed", positive
    )
    connection_timeout: int = option(
        30_000, "milliseconds to wait for a connection from the pool", positive
    )
    max_lifetime: int = option(
        1_800_000, "milliseconds after which a connection is replaced", positive
    )
    connect_timeout: int = option(
        10_000, "milliseconds to wait for one server to accept a connection", positive
    )
    statement_timeout: int = option(
        60_000, "milliseconds after which the server gives up a statement; 0 for never", at_least(0)
    )
    sslmode: str = option(
        "prefer", "TLS: " + ", ".join(SSL_MODES) + ", as in libpq", one_of(*SSL_MODES)
    )
    sslrootcert: str | None = option(None, "file of the CAs to trust; the system's without it")
    sslcert: str | None = option(None, "file of the client certificate")
    sslkey: str | None = option(None, "file of its key, where it is not in `sslcert`")
    application_name: str = option("statekeep", "name shown in pg_stat_activity")
    target_session_attrs: str = option(
        "read-write",
        "which servers will do: read-write passes over standbys, any takes the first that answers",
        one_of("read-write", "any"),
    )
    prepared_statements: bool = option(
        True, "keep statements prepared; false behind PgBouncer in transaction mode"
    )

    def __attrs_post_init__(self) -> None:
        tables = (self.key_set_table, self.key_value_table, self.deferred_table)
        if len(set(tables)) < len(tables):
            raise OptionError("key_value_table", "the three tables must have three names")
        one_way(self)
        if self.sslkey is not None and self.sslcert is None:
            raise OptionError("sslkey", "is of no use without sslcert")


@frozen(kw_only=True)
class InfiniticPostgresConfig(PostgresConfig):
    """Where Infinitic keeps its state: options and defaults of `postgres`, but only for reading."""

    deferred_table: str = option(
        "deferred_message_storage", "not read: Infinitic keeps no such table", identifier
    )
    create: bool = create_option()
    target_session_attrs: str = option(
        "any",
        "which servers will do: a standby is as good for reading; read-write passes over it",
        one_of("read-write", "any"),
    )
    undecodable: str = undecodable_option()
