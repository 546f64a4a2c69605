"""A TCP proxy that can delay, swallow, refuse, and cut between a request and its answer."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time


class Proxy:
    """Forwards connections on a free loopback port to a target.

    Attributes:
        delay: seconds by which every piece of an answer is late.
        slow_requests: seconds by which every piece of a request is late.
        blackhole: swallow everything, in both directions, and say nothing.
        cut_answers: forward requests, and reset the connection when the answer comes.
        refuse: reset new connections at once.
        requests: how many pieces went to the target.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay = self.slow_requests = 0.0
        self.blackhole = self.cut_answers = self.refuse = False
        self.requests = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where to connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """Resets all connections."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for sock in pair:
                _reset(sock)

    def drop_silently(self) -> None:
        """Makes the connections that exist dead, as a firewall does; new ones work."""
        with self._lock:
            self._pairs = set()  # their threads see that they are not among them any more

    def close(self) -> None:
        """Stops listening and resets all connections."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        self.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self.target, 5)
            except OSError:
                _reset(client)
                continue
            for sock in (client, server):
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((client, server))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        pair = (client, server)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(client, selectors.EVENT_READ)
                selector.register(server, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select():
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        data = source.recv(65536)
                        if not self._pass_on(pair, source, data):
                            return
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._pairs.discard(pair)
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.close()

    def _pass_on(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, data: bytes
    ) -> bool:
        client, server = pair
        with self._lock:
            dead = pair not in self._pairs
        if dead or self.blackhole:
            return bool(data)
        if not data:
            return False
        if source is client:
            self.requests += 1
            if self.slow_requests:
                time.sleep(self.slow_requests)
            server.sendall(data)
            return True
        if self.cut_answers:
            _reset(client)
            return False
        if self.delay:
            time.sleep(self.delay)
        client.sendall(data)
        return True


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        sock.close()
