"""What else listens on a port: the other backends' first words are tried on it.

So a wrong port and a frozen server are told apart, though both say nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import partial
from typing import Any

from statekeep.cli.patience import TooSlow, within
from statekeep.errors import StorageError
from statekeep.registry import Registry
from statekeep.servers import Hail, Hailed, Server, WrongProtocol

LONGEST = 0.5
"""Seconds for each try: a server that is well answers in a millisecond."""


def recognized(server: Server, registry: Registry, seconds: float) -> str | None:
    """What answers there, such as `mysql` or `redis over TLS`; None where nothing does.

    Args:
        server: where the one of the config did not answer as it should.
        registry: the backends to try; one that can be made of a host and a port alone.
        seconds: how long each try may take, at most `LONGEST`.
    """
    limit = min(seconds, LONGEST)
    for name, hail in _hails(server, registry):
        for how, tls in (("", None), (" over TLS", _unverified())):
            try:
                found = within(partial(_tried, server, hail, tls, limit), limit)
            except (WrongProtocol, OSError, EOFError, TooSlow):
                continue
            if tls is None or found:
                return f"{name}{how}"
    return None


def _hails(server: Server, registry: Registry) -> Iterator[tuple[str, Hail]]:
    for name, offer in registry.backends.offers.items():
        if offer.plugin.servers is None:
            continue
        make: Any = offer.plugin.config
        try:
            (found, *_) = offer.plugin.servers(make(host=server.host, port=server.port))
        except (TypeError, ValueError, StorageError):  # it takes more than that
            continue
        yield name, found.hail


def _tried(server: Server, hail: Hail, tls: ssl.SSLContext | None, limit: float) -> bool:
    """Whether the conversation is over TLS."""
    with server.connected(limit) as connection:
        hailed: Hailed = hail(connection, tls)
        with hailed.socket:
            return isinstance(hailed.socket, ssl.SSLSocket)


def _unverified() -> ssl.SSLContext:
    """Nothing is sent that anybody could misuse."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
