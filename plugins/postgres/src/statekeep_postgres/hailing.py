"""How a PostgreSQL server is recognized: what it says when it is asked for TLS.

https://www.postgresql.org/docs/15/protocol-flow.html#PROTOCOL-FLOW-SSL: one letter, S or N.
PgBouncer answers in the same way.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from functools import partial

from statekeep.servers import Hailed, Server, WrongProtocol

from statekeep_postgres.address import addresses
from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.driver import SSL_REQUEST, tls_context

OPTIONAL = ("disable", "prefer")
"""The modes in which a server without TLS will do."""


def servers(config: PostgresConfig) -> Sequence[Server]:
    """Those that the config names, in its order."""
    return [
        Server(
            host=address.host,
            port=address.port,
            socket_path=address.socket_path,
            hail=partial(hail, address.host),
            # As libpq: over a unix socket nobody asks for TLS.
            tls=partial(_tls, config, address.socket_path is None),
            needs_tls=config.sslmode not in OPTIONAL and address.socket_path is None,
            verified_by='sslmode = "verify-full" under [storage.postgres]',
        )
        for address in addresses(config.host, config.port)
    ]


def hail(host: str, plain: socket.socket, tls: ssl.SSLContext | None) -> Hailed:
    """See `statekeep.servers.Hail`."""
    plain.sendall(SSL_REQUEST)
    answer = plain.recv(1)
    if answer not in (b"S", b"N"):
        said = f"answered {answer!r}" if answer else "closed the connection"
        raise WrongProtocol(f"{said}, as no PostgreSQL server does")
    offered = answer == b"S"
    if tls is None or not offered:
        return Hailed(plain, offered)
    return Hailed(tls.wrap_socket(plain, server_hostname=host), offered)


def _tls(config: PostgresConfig, network: bool) -> ssl.SSLContext | None:
    return tls_context(config) if network else None
