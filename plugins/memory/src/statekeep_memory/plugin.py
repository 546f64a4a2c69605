"""What this package offers to statekeep."""

from __future__ import annotations

from statekeep import hookimpl
from statekeep.backend import Backend
from statekeep.cache import Cache
from statekeep.hookspecs import BackendPlugin, CachePlugin

from statekeep_memory.config import MemoryCacheConfig, MemoryConfig


def _backend(config: MemoryConfig) -> Backend:
    from statekeep_memory.backend import MemoryBackend

    return MemoryBackend()


def _cache(config: MemoryCacheConfig) -> Cache:
    from statekeep_memory.cache import MemoryCache

    return MemoryCache(config)


@hookimpl
def statekeep_backends() -> list[BackendPlugin]:
    """The backend `memory`, which the storage guide calls `inMemory`."""
    return [
        BackendPlugin(name="memory", config=MemoryConfig, factory=_backend, aliases=("in_memory",))
    ]


@hookimpl
def statekeep_caches() -> list[CachePlugin]:
    """The cache `memory`."""
    return [CachePlugin(name="memory", config=MemoryCacheConfig, factory=_cache)]
