"""Reading messages from a socket: waiting for them, or taking what has come."""

from __future__ import annotations

import socket
from typing import Protocol

from statekeep.sockets import CHUNK, Listening


class Reader(Protocol):
    """What makes sense of the bytes of an answer."""

    def take(self, data: bytes) -> tuple[int, bytes]:
        """Reads on; how many bytes it needs next, in all (0: none), and those not read yet."""


def fill(sock: socket.socket, rest: bytes, needed: int) -> bytes:
    """At least so many bytes: those that are there already, and then from the socket.

    Raises:
        EOFError: the other side closed it. What the socket raises is raised as it is.
    """
    if needed <= CHUNK:
        while len(rest) < needed:
            found = sock.recv(CHUNK)
            if not found:
                raise EOFError("the server closed it")
            rest += found
        return rest
    whole = bytearray(needed)
    whole[: len(rest)] = rest
    view, filled = memoryview(whole), len(rest)
    while filled < needed:
        count = sock.recv_into(view[filled:])
        if not count:
            raise EOFError("the server closed it")
        filled += count
    return bytes(whole)


class Streaming(Listening):
    """An answer that a reader makes sense of, from what the network brings bit by bit.

    Args:
        connection: the socket, as long as it waits still: its timeout is that of each bit.
        reader: takes the answer.
        first: how many bytes it needs at first.
        rest: what came behind the answer before; afterwards, what came behind this one.
    """

    def __init__(
        self, connection: socket.socket, reader: Reader, first: int, rest: bytes = b""
    ) -> None:
        super().__init__(connection, connection.gettimeout())
        self.rest = rest
        self._take = reader.take
        self._expect(first, rest)

    def take(self, data: bytes) -> bool:
        """See `Listening.take`."""
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return False
        needed, rest = self._take(b"".join(self._parts))
        if needed:
            self._expect(needed, rest)
            return False
        self.rest = rest
        return True

    def _expect(self, needed: int, rest: bytes) -> None:
        self._parts, self._missing = [rest], needed - len(rest)
