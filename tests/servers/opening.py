"""Backends by their config, in a module that child processes can import."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve
from statekeep.backend import Backend

from tests.servers import install, used


def open_redis(options: dict[str, Any]) -> Backend:
    """A Redis backend with these options, set up."""
    from statekeep_redis import RedisConfig
    from statekeep_redis.backend import RedisBackend

    backend = RedisBackend(RedisConfig(**options))
    backend.setup()
    return backend


def open_url(url: str) -> Backend:
    """A backend without layers at a URL, set up."""
    from statekeep import config
    from statekeep.registry import default_registry

    registry, found = default_registry(), config.load(url).backend
    if hasattr(found, "minimum_idle"):
        found = evolve(found, minimum_idle=0)  # tests open many
    backend: Backend = registry.offering(registry.backends, found).factory(found)
    backend.setup()
    return backend


def given_opener(name: str) -> Callable[[], Backend] | None:
    """Opens the server that the environment names for a backend; None where it names none."""
    url = install.given(name)
    if url is None:
        return None
    used.note(f"{name} as {install.variable(name)} says")
    return partial(open_url, url)
