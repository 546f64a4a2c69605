"""The database itself: noticed when it is missing, and created once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from statekeep.errors import AccessDenied, ConfigError

from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.database import Database
from statekeep_mysql.dialer import Dialer
from statekeep_mysql.driver import Connection
from statekeep_mysql.failures import NO_DATABASE, code
from statekeep_mysql.names import quote


@contextmanager
def connection(database: Database) -> Iterator[Connection | None]:
    """A connection; None where there is no such database."""
    try:
        entry = database.pool.acquire()
    except ConfigError as error:
        if code(error) != NO_DATABASE:
            raise
        yield None
        return
    database.pool.release(entry)
    with database.connection() as found:
        yield found


def create_database(config: MysqlConfig) -> None:
    """Creates the database, unless another process just did.

    Raises:
        AccessDenied: the user may not.
    """
    there = Dialer(config, None).connect(config.connection_timeout / 1000)
    try:
        there.run((f"CREATE DATABASE IF NOT EXISTS {quote(config.database)}",))
    except AccessDenied as error:
        raise AccessDenied(
            f"{error}. The database {config.database!r} is missing: GRANT CREATE ON "
            f"{quote(config.database)}.* to the user, or create it by hand"
        ) from error
    finally:
        there.close()
