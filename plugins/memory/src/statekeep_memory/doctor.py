"""What `examine()` looks at: that nothing is kept, and the messages."""

from __future__ import annotations

from collections.abc import Iterator

from statekeep import examining
from statekeep.backend import Backend
from statekeep.findings import Finding

CHECKS = {
    "durable": "whether state outlives the process",
    **{name: examining.CHECKS[name] for name in ("queues", "leases", "attempts")},
}


def examine(backend: Backend, now: int) -> Iterator[Finding]:
    """See `Backend.examine`; `now` is the backend's time in microseconds."""
    yield examining.advice(
        "durable",
        "state lives as long as this process",
        "it is for development and tests: nothing is kept, and nobody else sees it",
        'backend = "sqlite", which needs no server either',
    )
    yield from examining.scanned(backend, now)
