"""Free ports on the loopback address."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

FIRST, LAST = 15_000, 22_000
"""Below the range from which systems take ports for outgoing connections, as the tests' own: such
a port would be taken between the moment it was found and the start of its server. Ten thousand
more, which a node of a Redis Cluster needs as well, are below it, too."""

_choice = random.SystemRandom()
"""Not the seed that parallel test processes share."""


def free_ports(count: int = 1) -> list[int]:
    """Ports that were free a moment ago, all different.

    Args:
        count: how many.
    """
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            port = _choice.randrange(FIRST, LAST)
            sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            if _bound(sock, port) and _bindable(port + 10_000):
                found.append(port)
    return found


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        return _bound(sock, port)


def _bound(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
