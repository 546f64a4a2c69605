"""What operators are told: counts of records, beside the pool's numbers."""

from __future__ import annotations

from collections.abc import Iterable

from statekeep.backend import BackendStats, KindStats
from statekeep.model import RecordKind
from statekeep.usage import PoolStats

KINDS = (RecordKind.KEY_VALUE, RecordKind.KEY_SET, RecordKind.DEFERRED)


def backend_stats(
    pool: PoolStats, counted: Iterable[tuple[int, int]], stored_bytes: int | None
) -> BackendStats:
    """The numbers of a backend.

    Args:
        pool: those of its pool.
        counted: records and their bytes, of values, sets and messages.
        stored_bytes: what the tables take on the server's disk; None where that is not known.
    """
    return BackendStats(
        pool=pool,
        kinds={
            kind: KindStats(records=records, bytes=size)
            for kind, (records, size) in zip(KINDS, counted, strict=True)
        },
        stored_bytes=stored_bytes,
    )
