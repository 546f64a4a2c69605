"""Free ports on the loopback address."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int = 1, most: int = 55_000) -> list[int]:
    """Ports that were free a moment ago, all different.

    Args:
        count: how many.
        most: the highest to take; a Cluster node needs its port plus 10000 as well.
    """
    found: list[int] = []
    with ExitStack() as held:
        while len(found) < count:
            sock = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            if port <= most and _bindable(port + 10_000):
                found.append(port)
    return found


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
