"""Where a backend's servers are and how each begins to talk: for `statekeep doctor`.

A plugin may say so in `BackendPlugin.servers`. The command line then tells a name that is not known
from a port that is closed, a server of another kind from one that hangs, and reads certificates,
without knowing any protocol itself.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeAlias

from attrs import frozen


class WrongProtocol(Exception):
    """What answered there is no server of this kind; the message says what came."""


@frozen
class Hailed:
    """A server that answered as one of its kind does.

    Attributes:
        socket: the connection, over TLS where that was wanted and could be had.
        offers_tls: whether TLS could be had; None where that was not asked.
    """

    socket: socket.socket
    offers_tls: bool | None = None


Hail: TypeAlias = Callable[[socket.socket, ssl.SSLContext | None], Hailed]
"""Begins a conversation, as far as it takes to know who answers, and no password is sent.

It gets a connected socket with its time limit set, and what TLS is to verify, None for none. Raises
`WrongProtocol`, `ssl.SSLError` where the handshake failed, and `OSError` as the socket does.
"""


def _none() -> None:
    return None


@frozen(kw_only=True)
class Server:
    """One server that a config names.

    Attributes:
        host: its name or address.
        port: its port.
        hail: begins to talk to it.
        socket_path: its unix socket, in place of host and port.
        role: what it is among several, such as `Sentinel`.
        tls: makes what a connection verifies; None where the config wants no TLS. Raises
            `ConfigError` where a file of it cannot be read.
        needs_tls: whether a server without TLS is refused.
        verified_by: the config line by which the certificate is verified and must name the host.
    """

    host: str
    port: int
    hail: Hail
    socket_path: str | None = None
    role: str = "server"
    tls: Callable[[], ssl.SSLContext | None] = _none
    needs_tls: bool = False
    verified_by: str = ""

    def __str__(self) -> str:
        if self.socket_path is not None:
            return self.socket_path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.socket_path is not None or self.host == "localhost":
            return True
        return self.is_address and ip_address(self.host).is_loopback

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, and no name that must be looked up."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True

    def connected(self, seconds: float) -> socket.socket:
        """A connection with a time limit; raises `OSError` as the socket does."""
        if self.socket_path is None:
            return socket.create_connection((self.host, self.port), seconds)
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.settimeout(seconds)
            found.connect(self.socket_path)
        except BaseException:
            found.close()
            raise
        return found
