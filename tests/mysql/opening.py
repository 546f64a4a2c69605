"""Backends by their options, in a module that child processes can import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from statekeep_mysql import MysqlConfig, literals
from statekeep_mysql.backend import MysqlBackend
from statekeep_mysql.driver import Connection
from statekeep_mysql.wire import query

from tests.servers.mysql import PASSWORD

APP = {"username": "app", "password": PASSWORD}


def open_mysql(options: dict[str, Any]) -> MysqlBackend:
    """A MySQL backend with these options, set up. Few idle connections: tests open many."""
    backend = MysqlBackend(MysqlConfig(**{"minimum_idle": 0, **APP, **options}))
    try:
        backend.setup()
    except BaseException:
        backend.close()
        raise
    return backend


def open_in_pieces(options: dict[str, Any]) -> MysqlBackend:
    """A MySQL backend that cuts long lists into many statements, and those into many packets.

    For the whole process: nothing else may be open in it.
    """
    literals.MOST_CHARACTERS = 400
    backend = MysqlBackend(MysqlConfig(**{"minimum_idle": 0, **APP, **options}))
    dialer = backend._database._dialer
    dial = dialer.connect

    def connect(timeout: float) -> Connection:
        connection = dial(timeout)
        backend._database.max_packet = connection.max_packet
        connection.packet_limit = 2000
        return connection

    dialer.connect = connect
    backend.setup()
    return backend


def open_clocked(options: dict[str, Any], clock: Callable[[], int]) -> MysqlBackend:
    """A MySQL backend whose sessions take their time, in microseconds, from a function."""
    backend = MysqlBackend(MysqlConfig(**{"minimum_idle": 0, **APP, **options}))
    dialer = backend._database._dialer
    dial = dialer.connect

    def connect(timeout: float) -> Connection:
        connection = dial(timeout)
        packets = connection._packets

        def set_clock(statements: Sequence[str]) -> Iterator[tuple[str, bool]]:
            for packet in packets(statements):
                seconds, micros = divmod(clock(), 1_000_000)
                # The server keeps a double and cuts it: a little more hits the microsecond.
                connection.socket.sendall(query(f"SET timestamp={seconds}.{micros:06}3"))
                connection._receive([])
                yield packet

        connection._packets = set_clock
        return connection

    dialer.connect = connect
    backend.setup()
    return backend
