"""Statements over pooled connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from statekeep.pending import Pending, Steps
from statekeep.pool import Connector, Pool, PoolOptions
from statekeep.sql.calls import Calls

from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.driver import Connection, Dialer
from statekeep_postgres.reading import Rows
from statekeep_postgres.wire import Statement

T = TypeVar("T")


class Database(Calls[Connection]):
    """A pool of connections to one database."""

    def __init__(self, config: PostgresConfig) -> None:
        self._dialer = Dialer(config)
        self.name = self._dialer.name
        connector = Connector(
            connect=self._dialer.connect,
            check=Connection.alive,
            close=Connection.close,
            abandon=Connection.abandon,
            name=self.name,
        )
        options = PoolOptions(
            maximum_pool_size=config.maximum_pool_size,
            minimum_idle=config.minimum_idle,
            idle_timeout=config.idle_timeout / 1000,
            connection_timeout=config.connection_timeout / 1000,
            max_lifetime=config.max_lifetime / 1000,
        )
        super().__init__(Pool(connector, options))

    def read(self, statement: Statement, *parameters: Any) -> Rows:
        """The rows of a statement that changes nothing."""
        return self.reading(lambda connection: connection.run(statement, *parameters))

    def start(self, steps: Callable[[Connection], Steps[T]]) -> Pending[T] | None:
        """A call whose rows are received later; see `Backend.start_get_many`."""
        return self.starting(Connection.ready, steps)

    def write(self, statement: Statement, *parameters: Any) -> Rows:
        """The rows of a statement that changes something."""
        return self.writing(lambda connection: connection.run(statement, *parameters, writes=True))

    @contextmanager
    def patient(self) -> Iterator[Connection]:
        """A connection in a transaction without time limits, for what reads everything."""
        with self.connection() as connection:
            connection.timeout(None)
            connection.script("BEGIN; SET LOCAL statement_timeout = 0")
            yield connection
            connection.script("COMMIT")
            connection.timeout(self._dialer.read_timeout)
