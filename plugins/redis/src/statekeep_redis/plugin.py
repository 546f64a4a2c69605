"""What this package offers to statekeep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qs

from statekeep import hookimpl
from statekeep.backend import Backend
from statekeep.errors import ConfigError
from statekeep.hookspecs import BackendPlugin
from statekeep.servers import Server
from statekeep.sources import server_options

from statekeep_redis.config import InfiniticRedisConfig, RedisConfig


def _backend(config: RedisConfig) -> Backend:
    from statekeep_redis.backend import RedisBackend

    return RedisBackend(config)


def _infinitic(config: InfiniticRedisConfig) -> Backend:
    from statekeep_redis.infinitic import InfiniticRedis

    return InfiniticRedis(config)


def _servers(config: RedisConfig) -> Sequence[Server]:
    from statekeep_redis.hailing import servers

    return servers(config)


def read_url(parts: SplitResult) -> Mapping[str, Any]:
    """The options of `redis://` and of `rediss://`, which is the same with TLS."""
    options = server_options(parts)
    if parts.scheme.lower().endswith("rediss"):
        asked = {value.lower() for value in parse_qs(parts.query).get("ssl", ())}
        if asked - {"true", "yes", "on", "1"}:
            raise ConfigError("storage.redis.ssl: a rediss:// URL is with TLS: write redis://")
        if not asked:
            options["ssl"] = True
    return options


@hookimpl
def statekeep_backends() -> list[BackendPlugin]:
    """The backend `redis`, and `infinitic_redis`, which reads what Infinitic wrote.

    Their URL schemes that end in `rediss` are with TLS.
    """
    return [
        BackendPlugin(
            name="redis",
            config=RedisConfig,
            factory=_backend,
            aliases=("rediss",),
            read_url=read_url,
            servers=_servers,
        ),
        BackendPlugin(
            name="infinitic_redis",
            config=InfiniticRedisConfig,
            factory=_infinitic,
            aliases=("infinitic_rediss",),
            read_url=read_url,
            envelopes=False,
            servers=_servers,
        ),
    ]
