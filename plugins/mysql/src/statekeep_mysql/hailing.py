"""How a MySQL or MariaDB server is recognized: by its greeting, which says whether it has TLS.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from functools import partial
from struct import Struct

from statekeep.servers import Hailed, Server, WrongProtocol
from statekeep.sql.addresses import split_hosts
from statekeep.sql.stream import fill

from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.dialer import Address, tls_context

OPTIONAL = ("disabled", "preferred")
"""The modes in which a server without TLS will do."""

GREETING, REFUSAL = 10, 0xFF
"""How its first message begins; a refusal, such as "too many connections", is an answer too."""

LONGEST = 4096
"""A longer first message is none of this protocol."""

BEHIND_VERSION = 13
"""Bytes between the version's end and what the server can: thread, random bytes, a filler."""

CLIENT_SSL = 0x0800
ASK_FOR_TLS = Struct("<IIB23x").pack(0x0200 | CLIENT_SSL | 0x8000, 2**24, 45)
"""Protocol 4.1 and its way to log in; the rest is asked for again, over TLS."""


def servers(config: MysqlConfig) -> Sequence[Server]:
    """Those that the config names, in its order."""
    found = []
    for host, port in split_hosts(config.host, config.port):
        path = Address(host, port).socket_path
        found.append(
            Server(
                host=host,
                port=port,
                socket_path=path,
                hail=partial(hail, host),
                tls=partial(_tls, config, path is None),
                needs_tls=config.ssl_mode not in OPTIONAL and path is None,
                verified_by='ssl_mode = "verify_identity" under [storage.mysql]',
            )
        )
    return found


def hail(host: str, plain: socket.socket, tls: ssl.SSLContext | None) -> Hailed:
    """See `statekeep.servers.Hail`."""
    head = fill(plain, b"", 4)
    size = int.from_bytes(head[:3], "little")
    if not 0 < size < LONGEST:
        raise WrongProtocol(f"began with {head!r}, as no MySQL or MariaDB server does")
    message = fill(plain, head, 4 + size)[4:]
    if message[0] == REFUSAL:
        return Hailed(plain)
    if message[0] != GREETING or b"\0" not in message:
        raise WrongProtocol(f"began with {message[:16]!r}, as no MySQL or MariaDB server does")
    behind = message.index(b"\0") + 1 + BEHIND_VERSION
    offered = bool(int.from_bytes(message[behind : behind + 2], "little") & CLIENT_SSL)
    if tls is None or not offered:
        return Hailed(plain, offered)
    plain.sendall(len(ASK_FOR_TLS).to_bytes(3, "little") + b"\x01" + ASK_FOR_TLS)
    return Hailed(tls.wrap_socket(plain, server_hostname=host), offered)


def _tls(config: MysqlConfig, network: bool) -> ssl.SSLContext | None:
    if not network or config.ssl_mode == "disabled":
        return None
    if config.ssl_mode != "preferred":
        return tls_context(config)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # as PyMySQL's own: it verifies nothing
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
