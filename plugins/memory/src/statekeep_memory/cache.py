"""A cache in this process: cachebox's LRU, bounded in entries and bytes, with expiry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from attrs import mutable
from cachebox import LRUCache
from statekeep import fork
from statekeep.cache import Cache, CacheStats

from statekeep_memory.config import MemoryCacheConfig


@mutable
class Held:
    """A cached value, its size, and when (in seconds) it was put and last asked for."""

    value: Any
    size: int
    put: float
    asked: float


class MemoryCache(Cache):
    """The least recently used entries go first.

    Args:
        config: the bounds; without a `maximum_size` nothing is kept.
        clock: seconds that never go back; tests pass their own.
    """

    def __init__(
        self, config: MemoryCacheConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: LRUCache[str, Held] = LRUCache(0)
        self._bytes = self._hits = self._misses = self._evictions = 0
        fork.register(self)

    def get(self, key: str) -> Any | None:
        """See `Cache.get`."""
        with self._lock:
            held = self._entries.get(key, None)
            if held is None:
                self._misses += 1
                return None
            now = self._clock()
            if self._expired(held, now):
                self._drop(key)
                self._misses += 1
                return None
            held.asked = now
            self._hits += 1
            return held.value

    def put(self, key: str, value: Any, size: int) -> None:
        """See `Cache.put`."""
        most_entries = self._config.maximum_size or 0
        most_bytes = self._config.maximum_bytes
        if not most_entries or (most_bytes is not None and size > most_bytes):
            return
        with self._lock:
            self._drop(key)
            while len(self._entries) >= most_entries or (
                most_bytes is not None and self._bytes + size > most_bytes
            ):
                _, evicted = self._entries.popitem()
                self._bytes -= evicted.size
                self._evictions += 1
            now = self._clock()
            self._entries[key] = Held(value, size, now, now)
            self._bytes += size

    def discard(self, key: str) -> None:
        """See `Cache.discard`."""
        with self._lock:
            self._drop(key)

    def clear(self) -> None:
        """See `Cache.clear`."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def stats(self) -> CacheStats:
        """See `Cache.stats`."""
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                size=len(self._entries),
            )

    def after_fork(self) -> None:
        """Renews the lock, which a thread that the child does not have may hold."""
        self._lock = threading.Lock()

    def _drop(self, key: str) -> None:
        held = self._entries.pop(key, None)
        if held is not None:
            self._bytes -= held.size

    def _expired(self, held: Held, now: float) -> bool:
        idle, age = self._config.expire_after_access, self._config.expire_after_write
        return (idle is not None and now - held.asked >= idle) or (
            age is not None and now - held.put >= age
        )
