"""A cache in this process: S3-FIFO, bounded in entries and bytes, with expiry.

S3-FIFO (Yang, Zhang, Qiu, Yue, Vigfusson: "FIFO queues are all you need for cache eviction",
SOSP 2023) keeps new entries in a small queue, and lets them into the main one only where they
were asked for while they were there, or come back soon after they left. So a scan passes through
the small queue, and the hot entries stay. docs/design/0003-the-cache.md has the hit rates that it
was chosen by.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from attrs import mutable
from statekeep import fork
from statekeep.cache import Cache, CacheStats

from statekeep_memory.config import MemoryCacheConfig

SMALL_SHARE = 0.1
"""Of the whole cache, for entries that have yet to be asked for again; as in the paper."""

MOST_USES = 3
"""Uses are counted up to this: two bits, as in the paper."""

UNBOUNDED = 2**62


@mutable(eq=False)
class Held:
    """A cached value, its size, how often it was used since it was queued, and when.

    `put` and `asked` are seconds of the cache's clock.
    """

    key: str
    value: Any
    size: int
    put: float
    asked: float
    uses: int = 0
    in_main: bool = False


class Queue:
    """Entries in the order in which they came, and how many bytes they are."""

    def __init__(self) -> None:
        self.entries: OrderedDict[str, Held] = OrderedDict()
        self.bytes = 0

    def add(self, held: Held) -> None:
        """At the end."""
        self.entries[held.key] = held
        self.bytes += held.size

    def remove(self, held: Held) -> None:
        """From wherever it is."""
        del self.entries[held.key]
        self.bytes -= held.size

    def pop(self) -> Held:
        """The one that came first."""
        _, held = self.entries.popitem(last=False)
        self.bytes -= held.size
        return held


class MemoryCache(Cache):
    """Entries that are asked for again and again stay; what is asked for once passes through.

    A look-up takes no lock: it reads one dict, and a count of uses that two threads make at the
    same instant may be lost, which harms nothing. An interrupt (Ctrl-C) in the middle of a change
    leaves it marked as such, and the next change begins with an empty cache.

    Args:
        config: the bounds; without a `maximum_size` nothing is kept.
        clock: seconds that never go back; tests pass their own.
    """

    def __init__(
        self, config: MemoryCacheConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most_entries = config.maximum_size or 0
        self._most_bytes = config.maximum_bytes or UNBOUNDED
        self._idle, self._age = config.expire_after_access, config.expire_after_write
        self._expires = self._idle is not None or self._age is not None
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._small, self._main = Queue(), Queue()
        self._ghosts: OrderedDict[str, None] = OrderedDict()
        self._changing = False
        self._hits = self._misses = self._evictions = 0
        fork.register(self)

    def get(self, key: str) -> Any | None:
        """See `Cache.get`."""
        held = self._held.get(key)
        if held is None or (self._expires and self._expired(held)):
            self._misses += 1
            return None
        if held.uses < MOST_USES:
            held.uses += 1
        self._hits += 1
        return held.value

    def put(self, key: str, value: Any, size: int) -> None:
        """See `Cache.put`."""
        if not self._most_entries or size > self._most_bytes:
            return
        with self._lock:
            self._begin()
            known = self._drop(key) is not None or self._ghosts.pop(key, False) is None
            while self._held and (
                len(self._held) >= self._most_entries
                or self._small.bytes + self._main.bytes + size > self._most_bytes
            ):
                self._evict()
            now = self._clock() if self._expires else 0.0
            held = self._held[key] = Held(key, value, size, now, now, in_main=known)
            (self._main if known else self._small).add(held)
            self._changing = False

    def discard(self, key: str) -> None:
        """See `Cache.discard`."""
        with self._lock:
            self._begin()
            self._drop(key)
            self._changing = False

    def clear(self) -> None:
        """See `Cache.clear`."""
        with self._lock:
            self._empty()

    def stats(self) -> CacheStats:
        """See `Cache.stats`."""
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                size=len(self._held),
                bytes=self._small.bytes + self._main.bytes,
            )

    def after_fork(self) -> None:
        """Empties the child's copy: a thread that the child does not have may have been at it."""
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        self._changing = True
        self._held = {}
        self._small, self._main = Queue(), Queue()
        self._ghosts = OrderedDict()
        self._changing = False

    def _begin(self) -> None:
        if self._changing:  # and the lock is free: that change was interrupted
            self._empty()
        self._changing = True

    def _expired(self, held: Held) -> bool:
        now = self._clock()
        if (self._idle is not None and now - held.asked >= self._idle) or (
            self._age is not None and now - held.put >= self._age
        ):
            if self._held.get(held.key) is held:
                self.discard(held.key)
            return True
        held.asked = now
        return False

    def _drop(self, key: str) -> Held | None:
        held = self._held.pop(key, None)
        if held is not None:
            (self._main if held.in_main else self._small).remove(held)
        return held

    def _evict(self) -> None:
        """Makes room by one entry, or moves one from queue to queue."""
        small, main = self._small, self._main
        if small.entries and (
            not main.entries
            or len(small.entries) >= self._most_entries * SMALL_SHARE
            or small.bytes >= self._most_bytes * SMALL_SHARE
        ):
            self._leave_small(small.pop())
        else:
            self._leave_main(main.pop())

    def _leave_small(self, held: Held) -> None:
        if held.uses:
            held.uses, held.in_main = 0, True
            self._main.add(held)
        else:
            self._ghosts[held.key] = None
            while len(self._ghosts) > len(self._held):  # as many keys again as are held
                self._ghosts.popitem(last=False)
            self._forget(held)

    def _leave_main(self, held: Held) -> None:
        if held.uses:
            held.uses -= 1
            self._main.add(held)
        else:
            self._forget(held)

    def _forget(self, held: Held) -> None:
        del self._held[held.key]
        self._evictions += 1
