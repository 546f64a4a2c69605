"""What a pool can carry, by Little's law, and whether it or this process is the bound."""

from __future__ import annotations

from collections.abc import Iterator

from statekeep.cli.probes import Timing
from statekeep.examining import advice, good
from statekeep.findings import Finding

CHECKS = {
    "latency": "how long a read and a transaction take",
    "pool": "how many calls a second the connections can carry",
}
NEAR_SECONDS = 0.010
"""A read within a data centre takes less than this, the store's own work included."""

ENOUGH = 0.8
"""Both numbers are medians of few tries: below this the pool is the bound for certain."""

CALLS = ("get", "put", "transaction")
TYPICAL = "transaction"
"""The call by which the pool is judged: a workflow's step."""


def judged(timings: list[Timing], connections: int | None) -> Iterator[Finding]:
    """What the medians say.

    Args:
        timings: of a probe; a store that may only be read has no `transaction`.
        connections: how many calls can be under way at once; None where there is no bound.
    """
    found = {each.operation: each for each in timings}
    shown = ", ".join(
        f"{name} {found[name].seconds * 1e3:.2f} ms" for name in CALLS if name in found
    )
    if found["get"].seconds < NEAR_SECONDS:
        yield good("latency", f"{shown} (medians)")
    else:
        yield advice(
            "latency",
            f"{shown} (medians)",
            "the store is far away or busy: every call waits that long",
            "run workers near the store; [storage.cache.key_value] maximum_size = 10000",
        )
    yield _pool(found.get(TYPICAL, found["get"]), connections)


def _pool(call: Timing, connections: int | None) -> Finding:
    """Little's law: calls under way = calls a second, times the seconds that each takes."""
    if connections is None:
        return good("pool", "no bound on how many calls can be under way")
    carried = connections / call.seconds
    made = 1 / max(call.busy, 1e-6)
    told = (
        f"{connections} connections carry {carried:.0f} calls ({call.operation}) a second at "
        f"{call.seconds * 1e3:.2f} ms each, and one process of Python can make about {made:.0f}"
    )
    if carried >= ENOUGH * made:
        return good("pool", told)
    needed = min(round(made * call.seconds + 0.5), 10 * connections)
    return advice(
        "pool",
        told,
        "under full load the pool is the bound, and callers wait for a connection",
        f"maximum_pool_size = {needed} (on Redis pool_config.max_total), as far as the server's "
        "limit for all processes allows",
    )
