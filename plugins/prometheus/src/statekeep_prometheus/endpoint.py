"""`/metrics` over HTTP, for applications that serve none themselves.

Storages of one process that name the same address share it: it shows their whole registry anyway.
"""

from __future__ import annotations

import errno
import threading
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from statekeep import fork
from statekeep.errors import StorageError

SILENCE = 10.0
"""Seconds after which a client that sends no request is given up, and its thread ends."""

Address = tuple[str, int]


class Endpoint:
    """A server and its thread, with the number of storages that want it."""

    def __init__(self, address: Address, registry: CollectorRegistry) -> None:
        self.address = address
        self.registry = registry
        self.users = 1
        self._server, self._thread = _start(address, registry)

    def release(self) -> None:
        """One storage does without it from now on; the last one closes it."""
        _endpoints.release(self)

    def close(self) -> None:
        """Frees the port and ends the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def abandon(self) -> None:
        """In a forked child: leaves the port to the parent, which alone answers on it."""
        self._server.server_close()


class _Endpoints:
    """The endpoints of this process by address."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may close a storage meanwhile
        self._at: dict[Address, Endpoint] = {}
        fork.register(self)

    def after_fork(self) -> None:
        """A child has none: the threads are its parent's."""
        self._lock = threading.RLock()
        for endpoint in self._at.values():
            endpoint.abandon()
        self._at = {}

    def serve(self, host: str, port: int, registry: CollectorRegistry) -> Endpoint:
        """An endpoint at this address, new or shared.

        Raises:
            StorageError: the port cannot be had, or it shows another registry.
        """
        address = (host, port)
        with self._lock:
            found = self._at.get(address)
            if found is None:
                found = self._at[address] = Endpoint(address, registry)
                return found
            if found.registry is not registry:
                raise StorageError(
                    f"storage.observers.prometheus.port: {port} already serves another registry of "
                    "this process; set another port"
                )
            found.users += 1
            return found

    def release(self, endpoint: Endpoint) -> None:
        """Closes an endpoint that nobody wants any more."""
        with self._lock:
            endpoint.users -= 1
            if endpoint.users or self._at.get(endpoint.address) is not endpoint:
                return  # in use, or the parent's
            del self._at[endpoint.address]
        endpoint.close()


def _start(address: Address, registry: CollectorRegistry) -> tuple[WSGIServer, threading.Thread]:
    host, port = address
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, UnicodeError) as error:  # the latter for what can be no host name
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        advice = (
            "another program or process has it: set another port (every process needs its own)"
            if taken
            else "look at host and port"
        )
        raise StorageError(
            f"storage.observers.prometheus.port: cannot listen on {host}:{port} "
            f"({getattr(error, 'strerror', None) or error}); {advice}, or leave the port out and "
            "serve the registry from the application"
        ) from error
    handler: Any = server.RequestHandlerClass
    server.RequestHandlerClass = type("Handler", (handler,), {"timeout": SILENCE})
    return server, thread


_endpoints = _Endpoints()
serve = _endpoints.serve
