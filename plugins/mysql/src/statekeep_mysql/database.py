"""Statements over pooled connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from statekeep.backend import LARGE_VALUE_BYTES
from statekeep.pending import Pending, Steps
from statekeep.pool import Connector, Pool, PoolOptions
from statekeep.sql.calls import Calls

from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.dialect import settings
from statekeep_mysql.dialer import Dialer
from statekeep_mysql.driver import Connection
from statekeep_mysql.reading import Result, Rows
from statekeep_mysql.statements import SNAPSHOT
from statekeep_mysql.talking import Talk, waited_for

PACKET_OVERHEAD = 2**16
"""Room in a packet for everything but a value: its key, and the statements around it."""

T = TypeVar("T")


class Database(Calls[Connection]):
    """A pool of connections to one database.

    Attributes:
        max_packet: what the server takes at most in one packet; None before the first connection.
    """

    def __init__(self, config: MysqlConfig) -> None:
        self._dialer = Dialer(config, config.database)
        self.name = self._dialer.name
        self.max_packet: int | None = None
        connector = Connector(
            connect=self._connect,
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

    @property
    def max_value_bytes(self) -> int:
        """The largest value that fits in a packet, in which each byte takes two."""
        if self.max_packet is None:
            return LARGE_VALUE_BYTES
        return min(LARGE_VALUE_BYTES, (self.max_packet - PACKET_OVERHEAD) // 2)

    def query(self, statement: str) -> Rows:
        """The rows of one statement that changes nothing."""
        return self.reading(lambda connection: connection.run((statement,)))[0].rows

    def read(self, statements: Sequence[str]) -> list[Result]:
        """The results of statements that change nothing."""
        return self.reading(lambda connection: connection.run(statements))

    def rows(self, statements: Sequence[str]) -> Rows:
        """The rows of several statements that change nothing, and see one instant."""
        if not statements:
            return ()
        if len(statements) == 1:
            return self.query(statements[0])
        results = self.read((*SNAPSHOT, *statements, "COMMIT"))
        return [row for result in results for row in result.rows]

    def write(self, talk: Callable[[], Talk[T]]) -> T:
        """The answer to requests of which one changes something."""
        return self.writing(lambda connection: waited_for(connection, talk()))

    def start(self, steps: Callable[[Connection], Steps[T]]) -> Pending[T] | None:
        """A call whose results are received later; see `Backend.start_get_many`."""
        return self.starting(Connection.ready, steps)

    @contextmanager
    def patient(self) -> Iterator[Connection]:
        """A connection without time limits, for what reads everything; not used again."""
        with self.connection() as connection:
            connection.patient(True)
            connection.run(("SET SESSION " + ",".join(settings(connection.greeting, 0)),))
            yield connection
            connection.broken = True  # its settings are others now

    def _connect(self, timeout: float) -> Connection:
        connection = self._dialer.connect(timeout)
        self.max_packet = connection.max_packet
        return connection
