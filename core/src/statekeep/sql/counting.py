"""What operators are told: counts of records, and the pool's counters."""

from __future__ import annotations

from collections.abc import Iterable

from statekeep.backend import BackendStats, KindStats, PoolStats
from statekeep.model import RecordKind
from statekeep.pool import PoolCounters

KINDS = (RecordKind.KEY_VALUE, RecordKind.KEY_SET, RecordKind.DEFERRED)


def backend_stats(
    pool: PoolCounters, counted: Iterable[tuple[int, int]], stored_bytes: int | None
) -> BackendStats:
    """The numbers of a backend.

    Args:
        pool: the counters of its pool.
        counted: records and their bytes, of values, sets and messages.
        stored_bytes: what the tables take on the server's disk; None where that is not known.
    """
    return BackendStats(
        pool=PoolStats(in_use=pool.in_use, idle=pool.idle, waiting=pool.waiting),
        kinds={
            kind: KindStats(records=records, bytes=size)
            for kind, (records, size) in zip(KINDS, counted, strict=True)
        },
        stored_bytes=stored_bytes,
        details={
            "connections_created": pool.created,
            "connections_closed": pool.closed,
            "connections_failed": pool.failed,
            "waits": pool.waits,
            "wait_timeouts": pool.timeouts,
            "wait_seconds": pool.wait_time,
        },
    )
