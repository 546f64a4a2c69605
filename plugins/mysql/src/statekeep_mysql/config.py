"""The options of the MySQL backend."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from statekeep.infinitic import create_option, undecodable_option
from statekeep.options import OptionError, at_least, between, not_blank, one_of, option, positive
from statekeep.passwords import command_option, one_way
from statekeep.sql.addresses import host_problem

MAX_IDENTIFIER = 64
"""Characters in a name (https://dev.mysql.com/doc/refman/8.0/en/identifier-length.html); counted
here in bytes, which is never more."""

SSL_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")


def identifier(value: str) -> str | None:
    """A name of a database or table; it is quoted, so nearly any other character is fine."""
    if not value.strip() or "\0" in value or value.endswith(" "):
        return "must be a name, and not end with a blank"
    if any(ord(character) > 0xFFFF for character in value):
        return "must not hold characters beyond U+FFFF"
    if len(value.encode("utf-8", "surrogatepass")) > MAX_IDENTIFIER:
        return f"must have at most {MAX_IDENTIFIER} bytes"
    return None


@frozen(kw_only=True)
class MysqlConfig:
    """A database of a MySQL or MariaDB server. Times are in milliseconds, as in HikariCP."""

    host: str = option(
        "localhost",
        "server; several with commas, each with or without a `:port`; the path of a unix socket",
        not_blank,
        host_problem,
    )
    port: int = option(3306, "port where `host` names none", between(1, 65535))
    username: str = option("root", "user", not_blank)
    password: str | None = option(None, "password", secret=True)
    password_file: str | None = option(
        None, "file with the password, read again for every new connection", not_blank
    )
    password_command: Any = command_option()  # noqa: RUF009  # it makes an attrs field
    database: str = option("infinitic", "database; created where it is missing", identifier)
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
        60_000,
        "milliseconds after which the server gives up a statement (MySQL: only one that reads); "
        "0 for never",
        at_least(0),
    )
    lock_timeout: int = option(
        5_000, "milliseconds to wait for a lock; the server counts whole seconds", positive
    )
    ssl_mode: str = option(
        "preferred",
        "TLS: " + ", ".join(SSL_MODES) + ", as in the server's own client",
        one_of(*SSL_MODES),
    )
    ssl_ca: str | None = option(None, "file of the CAs to trust; the system's without it")
    ssl_cert: str | None = option(None, "file of the client certificate")
    ssl_key: str | None = option(None, "file of its key, where it is not in `ssl_cert`")
    application_name: str = option(
        "statekeep", "name shown in performance_schema.session_connect_attrs"
    )
    target_server_type: str = option(
        "primary",
        "which servers will do: primary passes over those that are read-only or not in sync, any "
        "takes the first that answers",
        one_of("primary", "any"),
    )

    def __attrs_post_init__(self) -> None:
        tables = (self.key_set_table, self.key_value_table, self.deferred_table)
        # Where lower_case_table_names is set, the server does not tell cases apart.
        if len({name.lower() for name in tables}) < len(tables):
            raise OptionError("key_value_table", "the three tables must have three names")
        one_way(self)
        if self.ssl_key is not None and self.ssl_cert is None:
            raise OptionError("ssl_key", "is of no use without ssl_cert")
        if self.ssl_mode in ("disabled", "preferred") and (self.ssl_ca or self.ssl_cert):
            raise OptionError(
                "ssl_mode", "must be required, verify_ca or verify_identity to use a certificate"
            )


@frozen(kw_only=True)
class InfiniticMysqlConfig(MysqlConfig):
    """Where Infinitic keeps its state: options and defaults of `mysql`, but only for reading."""

    deferred_table: str = option(
        "deferred_message_storage", "not read: Infinitic keeps no such table", identifier
    )
    create: bool = create_option()
    target_server_type: str = option(
        "any",
        "which servers will do: a replica is as good for reading; primary passes over it",
        one_of("primary", "any"),
    )
    undecodable: str = undecodable_option()
