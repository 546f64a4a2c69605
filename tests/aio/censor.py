"""A proxy that lets so many bytes of the answers pass, and then hangs up or falls silent."""

from __future__ import annotations

import contextlib
import socket

from tests.servers.proxy import Proxy


class Censor(Proxy):
    """Forwards whole requests, and answers up to a byte.

    Attributes:
        passed: how many bytes of answers went through.
        budget: how many more may; None for all.
        silent: what comes when nothing may pass any more: silence, or the end of the connection.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.passed = 0
        self.budget: int | None = None
        self.silent = False
        super().__init__(target)

    def _pass_on(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, data: bytes
    ) -> bool:
        client, _ = pair
        if source is client or not data:
            return super()._pass_on(pair, source, data)
        allowed = data if self.budget is None else data[: self.budget]
        if self.budget is not None:
            self.budget -= len(allowed)
        self.passed += len(allowed)
        with contextlib.suppress(OSError):
            client.sendall(allowed)
        return len(allowed) == len(data) or self.silent
