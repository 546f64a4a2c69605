"""Backends by their config, in a module that child processes can import."""

from __future__ import annotations

from typing import Any

from statekeep.backend import Backend


def open_redis(options: dict[str, Any]) -> Backend:
    """A Redis backend with these options, set up."""
    from statekeep_redis import RedisConfig
    from statekeep_redis.backend import RedisBackend

    backend = RedisBackend(RedisConfig(**options))
    backend.setup()
    return backend
