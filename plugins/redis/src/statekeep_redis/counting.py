"""What `stats()` counts."""

from __future__ import annotations

from statekeep.backend import BackendStats, KindStats
from statekeep.errors import StorageError
from statekeep.model import RecordKind

from statekeep_redis.cluster import Cluster
from statekeep_redis.scanning import Scanner
from statekeep_redis.server import Single

PAGE = 1000


def count(place: Single | Cluster, scanner: Scanner) -> BackendStats:
    """Pool, records and bytes by kind, and what the servers say of themselves."""
    memory, details = told(place)
    return BackendStats(
        pool=place.pool_stats(),
        kinds={kind: _kind(scanner, kind) for kind in RecordKind},
        stored_bytes=memory,
        details=details,
    )


def told(place: Single | Cluster) -> tuple[int | None, dict[str, int | float | str]]:
    """The memory that the servers use, and what else they say of themselves."""
    memory = 0
    details: dict[str, int | float | str] = {}
    for name, ask in place.servers():
        try:
            said = dict(
                line.split(":", 1)
                for line in ask(("INFO", "everything")).decode().splitlines()
                if ":" in line
            )
        except StorageError as error:
            details[f"{name} info"] = str(error)  # the ACL user may not ask
            continue
        memory += int(said.get("used_memory", 0))
        for word in ("redis_version", "role", "maxmemory", "maxmemory_policy", "evicted_keys"):
            if word in said:
                details[f"{name} {word}"] = said[word]
    return memory or None, details


def _kind(scanner: Scanner, kind: RecordKind) -> KindStats:
    records = size = 0
    after = None
    while found := scanner.names(kind, "", PAGE, after):
        records += len(found)
        size += sum(scanner.sizes(kind, found))
        after = found[-1]
    return KindStats(records=records, bytes=size)
