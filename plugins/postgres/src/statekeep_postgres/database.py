"""Statements over pooled connections: who gets one, and what is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from statekeep.errors import Unavailable
from statekeep.pool import Connector, Pool, PoolOptions

from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.driver import Connection, Dialer
from statekeep_postgres.failures import Contended
from statekeep_postgres.wire import Statement

ATTEMPTS = 5
"""How often a transaction is tried that another one pushed aside."""

Rows = list[tuple[Any, ...]]


class Database:
    """A pool of connections to one database."""

    def __init__(self, config: PostgresConfig) -> None:
        self._dialer = Dialer(config)
        self.name = self._dialer.name
        self.pool = Pool(
            Connector(
                connect=self._dialer.connect,
                check=Connection.alive,
                close=Connection.close,
                abandon=Connection.abandon,
                name=self.name,
            ),
            PoolOptions(
                maximum_pool_size=config.maximum_pool_size,
                minimum_idle=config.minimum_idle,
                idle_timeout=config.idle_timeout / 1000,
                connection_timeout=config.connection_timeout / 1000,
                max_lifetime=config.max_lifetime / 1000,
            ),
        )

    def read(self, statement: Statement, *parameters: Any) -> Rows:
        """The rows of a statement that changes nothing; once more where a connection broke.

        The server may have closed a connection between its check and its use.
        """
        try:
            return self._run(statement, parameters, False)
        except Unavailable as error:
            # What the server said itself, and what took a whole time-out, is not said again.
            if not isinstance(error.__cause__, OSError | EOFError):
                raise
            if isinstance(error.__cause__, TimeoutError):
                raise
        return self._run(statement, parameters, False)

    def write(self, statement: Statement, *parameters: Any) -> Rows:
        """The rows of a statement that changes something; again where it was pushed aside."""
        for attempt in range(1, ATTEMPTS):
            try:
                return self._run(statement, parameters, True)
            except Contended:
                time.sleep(random.uniform(0, 0.002 * 2**attempt))
        return self._run(statement, parameters, True)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for several statements."""
        entry = self.pool.acquire()
        try:
            yield entry.connection
        except BaseException:
            # Whatever it was, a transaction may be open.
            entry.connection.broken = True
            raise
        finally:
            if entry.connection.broken:
                self.pool.discard(entry)
            else:
                self.pool.release(entry)

    @contextmanager
    def patient(self) -> Iterator[Connection]:
        """A connection in a transaction without time limits, for what reads everything."""
        with self.connection() as connection:
            connection.timeout(None)
            connection.script("BEGIN; SET LOCAL statement_timeout = 0")
            yield connection
            connection.script("COMMIT")
            connection.timeout(self._dialer.read_timeout)

    def close(self) -> None:
        """Closes the pool."""
        self.pool.close()

    def _run(self, statement: Statement, parameters: tuple[Any, ...], writes: bool) -> Rows:
        entry = self.pool.acquire()
        connection = entry.connection
        try:
            return connection.run(statement, *parameters, writes=writes)
        finally:
            if connection.broken:
                self.pool.discard(entry)
            else:
                self.pool.release(entry)
