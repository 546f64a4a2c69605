"""Reading from a socket whole messages at a time."""

from __future__ import annotations

import socket

from statekeep.sockets import CHUNK


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
