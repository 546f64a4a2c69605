"""What `examine()` looks at: each master, Sentinels or the Cluster, rights, and what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from statekeep import examining
from statekeep.clock import now_micros
from statekeep.errors import AccessDenied, StorageError, Unavailable
from statekeep.examining import MOST_QUEUES, Queue, advice, good, problem, unknown
from statekeep.findings import Finding
from statekeep.model import RecordKind

from statekeep_redis import codec, rights, settings
from statekeep_redis.cluster import Cluster
from statekeep_redis.config import RedisConfig
from statekeep_redis.driver import Command, Reply, sentinel_reply, server_name
from statekeep_redis.names import SLOTS, Names
from statekeep_redis.scanning import Scanner
from statekeep_redis.server import Single

CHECKS = {
    "version": "the server's version",
    "role": "whether it is a master, which takes writes",
    "maxmemory-policy": "whether the server deletes state when its memory is full",
    "maxmemory": "how full its memory is",
    "evicted_keys": "whether it has deleted something already",
    "persistence": "what a stop of the server loses",
    "last-save": "whether saving to its disk works",
    "replicas": "replicas, and how late they are",
    "min-replicas-to-write": "whether a master that is cut off goes on taking writes",
    "maxclients": "the server's connections against this pool",
    "proto-max-bulk-len": "the largest value that can be stored",
    "server-info": "whether the user may ask the server about itself",
    "server-config": "whether the user may ask for settings that INFO does not have",
    "slowlog": "commands that held everything up",
    "other-keys": "keys of other programs in the same database",
    "cluster": "whether every slot is served",
    "sentinels": "whether the Sentinels can agree on a failover",
    "rights": "every command that the user needs",
    **examining.CHECKS,
}
Ask = Callable[[Command], Reply]

SLOW_MICROS = 100_000
RECENT_SECONDS = 3600
SAMPLE = 1000
"""Keys of the database, and messages of a queue, that are looked at."""

LEAST_SENTINELS = 3


def examine(
    place: Single | Cluster, names: Names, scanner: Scanner, config: RedisConfig
) -> Iterator[Finding]:
    """See `Backend.examine`."""
    looks: list[settings.Look] = [
        ("sentinels", partial(_sentinel, config, address))
        for address in config.sentinel_addresses()
    ]
    yield from examining.examined(looks)
    servers = list(place.servers())
    pool = place.pool_stats()
    pool_open = (pool.in_use + pool.idle) // len(servers)
    for name, ask in servers:
        where = f"{name}: " if config.nodes else ""
        looks = [
            ("server-info", partial(_server, where, ask, config, pool_open)),
            ("slowlog", partial(_slow, where, ask)),
            ("clock", partial(_clock, name, ask)),
            ("other-keys", partial(_others, where, ask, config.prefix.encode())),
        ]
        if config.nodes:
            yield from _node(name, [*looks, ("cluster", partial(_cluster, where, ask))])
        else:
            yield from examining.examined(looks)
    looks = [
        ("rights", partial(rights.examined, place, names, config)),
        ("expired", partial(_expired, place, names, scanner)),
        ("queues", partial(_queues, place, names, scanner, servers[0][1])),
    ]
    for look in looks:
        yield from _unless_partial(look) if config.nodes else examining.examined([look])


def _node(name: str, looks: list[settings.Look]) -> Iterator[Finding]:
    """One that does not answer says nothing of the others."""
    try:
        yield from examining.examined(looks)
    except Unavailable as error:
        yield problem(
            "cluster",
            f"{name}: {error}",
            "its slots are served by nobody, until a replica takes over",
            "start it again; redis-cli --cluster check HOST:PORT",
        )


def _unless_partial(look: settings.Look) -> Iterator[Finding]:
    """Where a part of the Cluster is down, what needs the whole is not known."""
    try:
        yield from examining.examined([look])
    except Unavailable as error:
        yield unknown(look[0], error)


def _server(where: str, ask: Ask, config: RedisConfig, pool_open: int) -> Iterator[Finding]:
    try:
        info = _info(ask(("INFO", "everything")))
    except AccessDenied as error:
        yield unknown("server-info", f"{where}{error}", "redis-cli ACL SETUSER ... +info")
        return
    found = settings.Said()
    try:
        for name in settings.CONFIGS:
            if reply := ask(("CONFIG", "GET", name)):  # empty where there is no such setting
                found[name] = reply[1].decode()
    except Unavailable:
        raise
    except StorageError as error:  # also of servers that let nobody ask
        yield unknown("server-config", f"{where}{error}", "redis-cli ACL SETUSER ... +config|get")
    others = bool(config.nodes or config.sentinels)
    told = settings.Told(where=where, info=info, config=found, others=others)
    yield from examining.examined(settings.looks(told, config, pool_open))


def _info(reply: bytes) -> settings.Said:
    lines = reply.decode("utf-8", "replace").splitlines()
    return settings.Said(line.split(":", 1) for line in lines if ":" in line)


def _slow(where: str, ask: Ask) -> Iterator[Finding]:
    now = int(ask(("TIME",))[0])
    entries: list[list[Any]] = ask(("SLOWLOG", "GET", 128))
    recent = [
        (micros, command[0].decode("utf-8", "replace"))
        for _, moment, micros, command, *_ in entries
        if micros >= SLOW_MICROS and now - moment < RECENT_SECONDS
    ]
    if not recent:
        yield good("slowlog", f"{where}nothing took {SLOW_MICROS // 1000} ms in the last hour")
        return
    micros, command = max(recent)
    yield advice(
        "slowlog",
        f"{where}{len(recent)} slow commands in the last hour, {command} took {micros // 1000} ms",
        "the server does one thing at a time: every other call waited for it",
        "redis-cli SLOWLOG GET; then look for who sent it, or at a disk or swap that is slow",
    )


def _clock(name: str, ask: Ask) -> Iterator[Finding]:
    before = now_micros()
    seconds, micros = ask(("TIME",))
    yield examining.clock(int(seconds) * 1_000_000 + int(micros), before, now_micros(), name)


def _others(where: str, ask: Ask, prefix: bytes) -> Iterator[Finding]:
    _, keys = ask(("SCAN", 0, "COUNT", SAMPLE))
    others = [key for key in keys if not key.startswith(prefix)]
    if not others:
        yield good("other-keys", f"{where}none among {len(keys)} keys looked at")
        return
    example = others[0][:60].decode("utf-8", "replace")
    yield advice(
        "other-keys",
        f"{where}{len(others)} of {len(keys)} keys looked at, such as {example!r}",
        "another program shares memory, evictions and a flush with this state",
        "give the state a server, or at least a database, of its own",
    )


def _cluster(where: str, ask: Ask) -> Iterator[Finding]:
    info = _info(ask(("CLUSTER", "INFO")))
    assigned, served = int(info["cluster_slots_assigned"]), int(info["cluster_slots_ok"])
    found = (
        f"{where}{info['cluster_state']}, {served} of {SLOTS} slots served by "
        f"{info['cluster_size']} masters"
    )
    if info["cluster_state"] == "ok" and assigned == served == SLOTS:
        yield good("cluster", found)
        return
    yield problem(
        "cluster",
        found,
        "calls for the slots that nobody serves, or all calls, are refused with CLUSTERDOWN",
        "start the nodes that are down; redis-cli --cluster check HOST:PORT, then --cluster fix",
    )


def _sentinel(config: RedisConfig, address: tuple[str, int]) -> Iterator[Finding]:
    name, where = config.master_name, f"Sentinel {server_name(address)}"
    try:
        flat = sentinel_reply(config, address, ("SENTINEL", "MASTER", name))
    except Unavailable as error:
        yield problem("sentinels", str(error), "one voice less for a failover", "start it")
        return
    told = {key.decode(): value.decode() for key, value in zip(*[iter(flat)] * 2, strict=True)}
    several = 1 + int(told["num-other-sentinels"])
    found = (
        f"{where} knows {several} Sentinels, quorum {told['quorum']}, {told['num-slaves']} "
        f"replicas, master {told['flags']}"
    )
    try:
        sentinel_reply(config, address, ("SENTINEL", "CKQUORUM", name))
    except StorageError as error:
        yield problem(
            "sentinels",
            f"{found}: {error}",
            "no failover can be agreed on: when the master stops, all stops",
            f"start the other Sentinels; redis-cli -p {address[1]} SENTINEL CKQUORUM {name}",
        )
        return
    if told["flags"] != "master":
        yield problem("sentinels", found, "a failover is under way, or due", "start the master")
    elif several < LEAST_SENTINELS:
        yield advice(
            "sentinels", found, "with fewer than three the loss of one stops failovers", "add one"
        )
    else:
        yield good("sentinels", found)


def _expired(place: Single | Cluster, names: Names, scanner: Scanner) -> Iterator[Finding]:
    """Redis removes expired values by itself; their names wait in the index for a purge."""
    now, most = now_micros() // 1000, examining.MANY_EXPIRED
    count = 0
    for slot in scanner.slots_with("x"):
        _, _, expiry = names.scope(slot)
        command = ("ZRANGEBYSCORE", expiry, "-inf", now, "LIMIT", 0, most - count)
        count += len(place.call(slot, command, write=False))
        if count >= most:
            break
    yield examining.expired(count, count < most)


def _queues(place: Single | Cluster, names: Names, scanner: Scanner, ask: Ask) -> Iterator[Finding]:
    seconds, micros = ask(("TIME",))
    now = int(seconds) * 1_000_000 + int(micros)
    found: list[Queue] = []
    after: tuple[int, bytes] | None = None
    while page := scanner.names(RecordKind.DEFERRED, "", 1, after):
        if len(found) == MOST_QUEUES:
            break
        ((slot, first),) = page
        queue = first.partition(b"\0")[0]
        found.append(_queue(place, names, queue.decode(), now))
        after = (slot, queue + b"\0\xff")  # behind every id, which is UTF-8
    yield from examining.queues(found, now, examining.bounds(found, bool(page), SAMPLE))


def _queue(place: Single | Cluster, names: Names, queue: str, now: int) -> Queue:
    order, fields = names.queue(queue)
    slot = names.slot(order)
    earliest = ("ZRANGEBYSCORE", order, "-inf", "+inf", "LIMIT", 0, SAMPLE)
    ids = place.call(slot, earliest, write=False)
    found = Queue(name=queue, looked=0)
    if ids:
        contents = place.call(slot, ("HMGET", fields, *(b"m" + id for id in ids)), write=False)
        for id, content in zip(ids, contents, strict=True):
            if content is not None:
                message = codec.message(queue, id.decode(), content, b"")
                found = examining.with_message(found, now, message)
    return found
