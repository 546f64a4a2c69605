"""Which commands the user needs and whether it may run them, each with the ACL rule that allows it.

Reads are tried on a key that is not there. What scripts write is asked for by `check.lua`, which
runs none of it (Redis 7.0 and newer can tell).
"""

from __future__ import annotations

from collections.abc import Iterator

from statekeep.examining import good, problem
from statekeep.findings import Finding

from statekeep_redis import scripts
from statekeep_redis.cluster import Cluster
from statekeep_redis.config import RedisConfig
from statekeep_redis.driver import Command, Reply
from statekeep_redis.failures import Refusal
from statekeep_redis.names import Names
from statekeep_redis.server import Single

TRIAL = "{statekeep-doctor}"
REFUSED = "NOPERM"


def _tried(name: bytes) -> tuple[Command, ...]:
    """What the backend sends beside its scripts; none of it changes anything."""
    return (
        ("PING",),
        ("GET", name),
        ("MGET", name),
        ("STRLEN", name),
        ("EXISTS", name),
        ("HMGET", name, b""),
        ("HSTRLEN", name, b""),
        ("ZRANGE", name, 0, -1),
        ("ZMSCORE", name, b""),
        ("ZRANGEBYLEX", name, b"-", b"+"),
        ("ZRANGEBYSCORE", name, 0, 0),
        ("ZLEXCOUNT", name, b"-", b"+"),
    )


def examined(place: Single | Cluster, names: Names, config: RedisConfig) -> Iterator[Finding]:
    """Every command that is refused, or that none is."""
    name = names.value(TRIAL)
    user = config.username or "default"
    denied = list(dict.fromkeys(_denied(place, names.slot(name), name)))
    for command in denied:
        yield problem(
            "rights",
            f"the user {user!r} may not run {command} on keys below {config.prefix!r}",
            "calls that need it are refused with AccessDenied",
            f"redis-cli ACL SETUSER {user} +{command.lower()} '~{config.prefix}*'; ACL SAVE",
        )
    if not denied:
        yield good("rights", f"the user {user!r} may run all that it needs")


def _denied(place: Single | Cluster, slot: int, name: bytes) -> Iterator[str]:
    script = ("EVAL", scripts.CHECK.text, 1, name)
    by_name = ("EVALSHA", scripts.CHECK.sha, 1, name)
    (inside,) = place.calls([(slot, script)], write=False)
    if _is_refused(inside):
        yield "EVAL"
    elif isinstance(inside, Refusal):
        raise inside.error  # nothing is served there, now
    else:
        yield from (command.decode() for command in inside)
        # Alone, as a pipeline would send the script's text again.
        if _is_refused(*place.calls([(slot, by_name)], write=False)):
            yield "EVALSHA"
    tried = _tried(name)
    replies = place.calls([(slot, command) for command in tried], write=False)
    for command, reply in zip(tried, replies, strict=True):
        if _is_refused(reply):
            yield str(command[0])


def _is_refused(reply: Reply) -> bool:
    """Not any `AccessDenied`: that of a connection is no matter of commands."""
    return isinstance(reply, Refusal) and reply.code == REFUSED
