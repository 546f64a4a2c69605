"""The database itself: noticed when it is missing, and created once."""

from __future__ import annotations

import zlib

from statekeep.errors import AccessDenied, ConfigError, StorageError

from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.driver import Dialer
from statekeep_postgres.failures import DUPLICATE_DATABASE, NO_DATABASE, ServerRefused
from statekeep_postgres.names import quote
from statekeep_postgres.wire import Statement

MAINTENANCE = "postgres"
"""The database that every server has, from which others are created."""

EXISTS = Statement("SELECT 1 FROM pg_database WHERE datname = $1", ("text",), ("int4",))


def code(error: BaseException) -> str:
    """The SQLSTATE behind an error; empty where the server said none."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, ServerRefused):
        cause = cause.__cause__
    return "" if cause is None else cause.code


def is_missing(error: ConfigError) -> bool:
    """Whether connecting failed because there is no such database."""
    return code(error) == NO_DATABASE


def create_database(config: PostgresConfig) -> None:
    """Creates the database, unless another process just did.

    Raises:
        AccessDenied: the user may not.
    """
    try:
        there = Dialer(config, MAINTENANCE).connect(config.connection_timeout / 1000)
    except ConfigError as error:
        raise ConfigError(
            f"the database {config.database!r} is missing, and there is no database "
            f"{MAINTENANCE!r} from which to create it: create it by hand"
        ) from error
    try:
        # CREATE DATABASE cannot be in a transaction: the lock lasts as long as the connection.
        lock = zlib.crc32(f"statekeep database {config.database}".encode())
        there.script(f"SELECT pg_advisory_lock({lock})")
        if not there.run(EXISTS, config.database):
            there.timeout(None)
            there.script(
                f"CREATE DATABASE {quote(config.database)} ENCODING 'UTF8' TEMPLATE template0"
            )
    except AccessDenied as error:
        raise AccessDenied(
            f"{error}. The database {config.database!r} is missing: ALTER ROLE ... CREATEDB, or "
            "create it by hand"
        ) from error
    except StorageError as error:
        if code(error) not in DUPLICATE_DATABASE:
            raise
    finally:
        there.close()
