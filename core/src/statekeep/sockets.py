"""Sockets that do not wait: for drivers whose calls event loops await."""

from __future__ import annotations

import socket
import ssl
import time
from abc import ABC, abstractmethod
from math import inf

CHUNK = 1 << 16
"""Bytes read at a time."""

SURE_BYTES = 4096
"""For which every send buffer has room."""


def room_for(connection: socket.socket, size: int) -> bool:
    """Whether the network will take so many bytes at once, after all before them have arrived.

    Half the buffer: Linux counts what it needs to keep the bytes too.
    """
    return size <= SURE_BYTES or 2 * size <= connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF
    )


def hand_over(connection: socket.socket, data: bytes) -> None:
    """Sends all of it at once; from now on the socket does not wait.

    Raises:
        OSError: the network did not take all of it, or the connection is of no use.
    """
    connection.settimeout(0)
    view = memoryview(data)
    while view:
        view = view[connection.send(view) :]


class Silence(Exception):
    """Nothing came until the deadline."""


class Listening(ABC):
    """What comes over a socket that does not wait, bit by bit, until it is enough.

    Args:
        connection: the socket.
        patience: seconds for each bit; None for any number.

    Attributes:
        deadline: see `Pending.deadline`.
    """

    def __init__(self, connection: socket.socket, patience: float | None) -> None:
        self.patience = patience
        self._socket = connection
        self._more_time()

    def fileno(self) -> int:
        """See `Pending.fileno`."""
        return self._socket.fileno()

    def hear(self) -> bool:
        """Takes what has come; whether that was all.

        Raises:
            Silence: it is late.
            EOFError, OSError: the connection has ended. And whatever `take` raises.
        """
        heard = False
        try:
            while True:
                data = self._socket.recv(CHUNK)
                if not data:
                    raise EOFError("the server closed it")
                heard = True
                if self.take(data):
                    return True
        except (BlockingIOError, ssl.SSLWantReadError):
            if heard:
                self._more_time()
            elif time.monotonic() >= self.deadline:
                raise Silence from None
            return False

    @abstractmethod
    def take(self, data: bytes) -> bool:
        """Takes some bytes more; whether there is no more to come."""

    def _more_time(self) -> None:
        self.deadline = inf if self.patience is None else time.monotonic() + self.patience
