"""The database itself: noticed when it is missing, and created once."""

from __future__ import annotations

from statekeep.errors import AccessDenied, ConfigError

from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.dialer import Dialer
from statekeep_mysql.failures import NO_DATABASE, code
from statekeep_mysql.names import quote


def is_missing(error: ConfigError) -> bool:
    """Whether connecting failed because there is no such database."""
    return code(error) == NO_DATABASE


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
