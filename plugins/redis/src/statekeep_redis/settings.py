"""What a server's settings and its INFO mean for the state it keeps: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from re import findall

from attrs import frozen
from statekeep import examining
from statekeep.backend import LARGE_VALUE_BYTES
from statekeep.errors import Unsupported
from statekeep.examining import advice, good, problem
from statekeep.findings import Finding

from statekeep_redis.codec import HEADER
from statekeep_redis.config import RedisConfig

Look = tuple[str, Callable[[], Iterable[Finding]]]

CONFIGS = (
    "appendfsync",
    "maxclients",
    "min-replicas-to-write",
    "proto-max-bulk-len",
    "save",
)
"""What INFO does not say."""

OLDEST = (6, 2)
LEAST_VALUE_BYTES = 4 * 2**20
"""What the contract promises of every backend."""

FULL, NEARLY_FULL = 0.9, 0.75
LATE_SECONDS = 10
KEEP = "and keep it: CONFIG REWRITE"


class Said(dict[str, str]):
    """What a server said, by name; what it left out is `Unsupported`, as with some providers."""

    def __missing__(self, name: str) -> str:
        raise Unsupported(f"the server does not tell {name}")


@frozen(kw_only=True)
class Told:
    """What one server says of itself.

    Attributes:
        where: what to call it, with a colon; empty where there is only one.
        info: INFO by name.
        config: CONFIG GET by name; empty where the user may not ask.
        others: whether there are Sentinels or a Cluster, which replicas are to take over in.
    """

    where: str
    info: Said
    config: Said
    others: bool


def looks(told: Told, config: RedisConfig, pool_open: int) -> list[Look]:
    """What to look at; where the server does not tell, each says so by itself.

    Args:
        told: by the server.
        config: what this storage is configured to want.
        pool_open: connections that this process has to it.
    """
    return [
        ("version", lambda: [_version(told)]),
        ("role", lambda: [_role(told)]),
        ("maxmemory-policy", lambda: [_policy(told)]),
        ("maxmemory", lambda: [_memory(told)]),
        ("evicted_keys", lambda: [_evicted(told)]),
        ("persistence", lambda: [_persistence(told)]),
        ("last-save", lambda: [_saves(told)]),
        ("replicas", lambda: [_replicas(told, config)]),
        ("min-replicas-to-write", lambda: _min_replicas(told)),
        ("maxclients", lambda: [_clients(told, config, pool_open)]),
        ("proto-max-bulk-len", lambda: _values(told)),
    ]


def _version(told: Told) -> Finding:
    version = told.info["redis_version"]
    if tuple(int(part) for part in findall(r"\d+", version)[:2]) < OLDEST:
        meaning = "statekeep is made for 6.2 and newer: commands are missing"
        return problem("version", f"{told.where}{version}", meaning, "upgrade the server")
    return good("version", f"{told.where}Redis {version}")


def _role(told: Told) -> Finding:
    role = told.info["role"]
    if role == "master":
        return good("role", f"{told.where}a master")
    return problem(
        "role",
        f"{told.where}a replica of {told.info.get('master_host')}:{told.info.get('master_port')}",
        "every write is refused with READONLY",
        "host = the master under [storage.redis], or sentinels; or on the server: REPLICAOF NO ONE",
    )


def _policy(told: Told) -> Finding:
    policy = told.info["maxmemory_policy"]
    if policy == "noeviction":
        return good("maxmemory-policy", f"{told.where}{policy}")
    which = "any key" if policy.startswith("allkeys") else "values with a time to live"
    return problem(
        "maxmemory-policy",
        f"{told.where}{policy}",
        f"when memory is full the server deletes {which}: state is lost without a word",
        f"redis-cli CONFIG SET maxmemory-policy noeviction; {KEEP}",
    )


def _memory(told: Told) -> Finding:
    used, most = int(told.info["used_memory"]), int(told.info["maxmemory"])
    mib = used / 2**20
    if not most:
        return advice(
            "maxmemory",
            f"{told.where}no bound, {mib:.0f} MiB used",
            "when the machine's memory is full the kernel ends the server",
            f"redis-cli CONFIG SET maxmemory 2gb (two thirds of the machine's); {KEEP}",
        )
    found = f"{told.where}{mib:.0f} of {most / 2**20:.0f} MiB used"
    if used < NEARLY_FULL * most:
        return good("maxmemory", found)
    return (problem if used > FULL * most else advice)(
        "maxmemory",
        found,
        "when it is full every write is refused with OOM",
        f"redis-cli CONFIG SET maxmemory {2 * most}; {KEEP}; or: statekeep purge, and compression",
    )


def _evicted(told: Told) -> Finding:
    count = int(told.info["evicted_keys"])
    if not count:
        return good("evicted_keys", f"{told.where}none since the server started")
    return problem(
        "evicted_keys",
        f"{told.where}{count} since the server started",
        "state was lost: values, sets, or queues are gone or incomplete",
        "restore a backup, set maxmemory-policy noeviction, then: redis-cli CONFIG RESETSTAT",
    )


def _persistence(told: Told) -> Finding:
    if told.info["aof_enabled"] != "1":
        saves = told.config.get("save", "")
        how = f"snapshots only (save {saves})" if saves else "no append-only file, no snapshots"
        if "save" not in told.config:
            how = "no append-only file; of snapshots it does not tell"
        return (problem if told.config.get("save") == "" else advice)(
            "persistence",
            f"{told.where}{how}",
            "a stop loses " + ("the writes of the last minutes" if saves else "everything"),
            f"redis-cli CONFIG SET appendonly yes; {KEEP}",
        )
    how = told.config.get("appendfsync", "not told")
    found = f"{told.where}append-only file, appendfsync {how}"
    if how in ("always", "not told"):
        return good("persistence", found)
    lost = "a second" if how == "everysec" else "half a minute"
    return (advice if how == "everysec" else problem)(
        "persistence",
        found,
        f"a stop of the machine loses up to {lost} of acknowledged writes",
        f"redis-cli CONFIG SET appendfsync always; {KEEP} (each write then waits for the disk)",
    )


def _saves(told: Told) -> Finding:
    names = ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
    failed = [name for name in names if told.info.get(name, "ok") != "ok"]
    if not failed:
        return good("last-save", f"{told.where}nothing failed")
    return problem(
        "last-save",
        f"{told.where}{', '.join(failed)}: {told.info[failed[0]]}",
        "the server cannot save to its disk: writes are refused with MISCONF, or lost in a stop",
        "look at the server's log; make room on its disk, correct `dir` and its permissions; then: "
        "redis-cli BGSAVE",
    )


def _replicas(told: Told, config: RedisConfig) -> Finding:
    count = int(told.info["connected_slaves"])
    found = f"{told.where}{count} replicas"
    late = [
        (name, int(lag[0]))
        for name, text in told.info.items()
        if name.startswith("slave") and (lag := findall(r"lag=(\d+)", text))
    ]
    slow = [f"{name} by {lag} s" for name, lag in late if lag > LATE_SECONDS]
    if config.wait_replicas > count:
        return problem(
            "replicas",
            f"{found}, and wait_replicas is {config.wait_replicas}",
            "every write waits until wait_timeout, and is OutcomeUnknown",
            "start the replicas, or lower wait_replicas under [storage.redis]",
        )
    if slow:
        return advice(
            "replicas",
            f"{found}, late are {', '.join(slow)}",
            "a failover to one of them loses what it has not got",
            "look at the network, and at the replica's load",
        )
    if told.others and not count:
        return advice(
            "replicas",
            found,
            "when this master stops there is nobody to take over",
            "add a replica: redis-cli REPLICAOF HOST PORT (in a Cluster: CLUSTER REPLICATE ID)",
        )
    return good("replicas", found)


def _min_replicas(told: Told) -> Iterator[Finding]:
    if "min-replicas-to-write" not in told.config:
        return
    least, count = int(told.config["min-replicas-to-write"]), int(told.info["connected_slaves"])
    found = f"{told.where}{least}, with {count} replicas"
    if least > count:
        yield problem(
            "min-replicas-to-write",
            found,
            "every write is refused with NOREPLICAS",
            f"start the replicas, or: redis-cli CONFIG SET min-replicas-to-write {count}",
        )
    elif told.others and count > 1 and not least:
        yield advice(
            "min-replicas-to-write",
            found,
            "a master that is cut off goes on taking writes, and all of them are lost",
            f"redis-cli CONFIG SET min-replicas-to-write 1; {KEEP}",
        )
    else:
        yield good("min-replicas-to-write", found)


def _clients(told: Told, config: RedisConfig, pool_open: int) -> Finding:
    most = int(told.config.get("maxclients") or told.info.get("maxclients", "0"))
    pool = config.pool.max_total
    return examining.connections(
        "maxclients",
        f"{told.where}maxclients is {most or 'not told'}",
        usable=most or None,
        used=max(int(told.info["connected_clients"]) - pool_open, 0),
        pool=pool if pool > 0 else None,
        refusal="max number of clients reached",
        remedy=f"redis-cli CONFIG SET maxclients {2 * max(most, pool)}; or "
        f"pool_config.max_total = {max(most // 4, 1)} under [storage.redis]",
    )


def _values(told: Told) -> Iterator[Finding]:
    if "proto-max-bulk-len" not in told.config:
        return
    most = int(told.config["proto-max-bulk-len"]) - HEADER.size
    found = f"{told.where}values up to {min(most, LARGE_VALUE_BYTES) / 2**20:.1f} MiB"
    if most >= LEAST_VALUE_BYTES:
        yield good("proto-max-bulk-len", found)
        return
    yield problem(
        "proto-max-bulk-len",
        found,
        "larger ones are refused with InvalidArgument; the contract promises 4 MiB",
        f"redis-cli CONFIG SET proto-max-bulk-len 512mb; {KEEP}",
    )
