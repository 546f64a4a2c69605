"""A pool of connections to one server: last in, first out, so that idle ones grow old together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from statekeep import fork
from statekeep.backend import PoolStats
from statekeep.errors import Closed, PoolTimeout, StorageError

from statekeep_redis.config import PoolConfig


class Link(Protocol):
    """A connection, as the pool sees it."""

    used: bool

    def usable(self) -> bool:
        """Whether it can still be used; asked before each use."""

    def close(self) -> None:
        """Closes it; no error whatever its state."""


L = TypeVar("L", bound=Link)


class Pool(Generic[L]):
    """Connections to one server.

    Args:
        connect: opens one, or raises a `StorageError`.
        config: how many.
        timeout: seconds to wait for one when all are in use.
        server: what to call it in an error.
    """

    def __init__(
        self, connect: Callable[[], L], config: PoolConfig, timeout: float, server: str
    ) -> None:
        self._connect = connect
        self._most = config.max_total if config.max_total > 0 else None
        self._most_idle = config.max_idle if config.max_idle >= 0 else None
        self._least = config.min_idle
        self._timeout = timeout
        self._server = server
        self._reset()
        fork.register(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._idle: deque[L] = deque()
        self._in_use = self._waiting = self._generation = 0
        self._filling = False
        self._closed = False

    def acquire(self) -> tuple[L, int]:
        """A connection that was alive a moment ago, and the pool's generation.

        Raises:
            PoolTimeout: all are in use, and none came back in time.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise Closed("this redis storage is closed; open another one")
                if not self._idle and self._most is not None and self._in_use >= self._most:
                    self._wait()
                generation = self._generation
                link = self._idle.pop() if self._idle else None
                self._in_use += 1
            try:
                if link is None:
                    return self._connect(), generation
                if link.usable():
                    return link, generation
            except BaseException:
                if link is not None:
                    link.close()
                self._gone()
                raise
            self.discard(link)  # those below it have been idle for longer

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        self._waiting += 1
        try:
            while not self._idle and self._most is not None and self._in_use >= self._most:
                left = deadline - time.monotonic()
                if left <= 0 or not self._freed.wait(left):
                    if self._idle or self._in_use < self._most:
                        break
                    raise PoolTimeout(
                        f"redis: all {self._most} connections to {self._server} were in use for "
                        f"{self._timeout:g} s: raise pool_config.max_total, or hold fewer at once"
                    )
            if self._closed:
                raise Closed("this redis storage was closed while a call waited for a connection")
        finally:
            self._waiting -= 1

    def release(self, link: L, generation: int) -> None:
        """Takes a connection back whose last answer was read to its end."""
        with self._lock:
            self._in_use -= 1
            keep = (
                generation == self._generation
                and not self._closed
                and (self._most_idle is None or len(self._idle) < self._most_idle)
            )
            if keep:
                link.used = True
                self._idle.append(link)
            self._freed.notify()
        if not keep:
            link.close()

    def discard(self, link: L, *, others: bool = True) -> None:
        """Closes a broken connection, and with it the idle ones: they broke with it."""
        link.close()
        self._gone()
        if others:
            self.clear()
            self._refill()

    def _gone(self) -> None:
        with self._lock:
            self._in_use -= 1
            self._freed.notify()

    def clear(self) -> None:
        """Closes what is idle; what is in use is closed when it comes back."""
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, deque()
        for link in idle:
            link.close()

    def fill(self) -> None:
        """Opens connections until as many as configured are open."""
        while True:
            with self._lock:
                if self._closed or self._in_use + len(self._idle) >= self._least:
                    return
                self._in_use += 1
                generation = self._generation
            try:
                link = self._connect()
            except BaseException:
                self._gone()
                raise
            self.release(link, generation)

    def _refill(self) -> None:
        """Brings the pool back to its minimum, without keeping the caller."""
        with self._lock:
            if self._closed or self._filling or self._in_use + len(self._idle) >= self._least:
                return
            self._filling = True
        threading.Thread(target=self._fill_later, name="statekeep-redis-pool", daemon=True).start()

    def _fill_later(self) -> None:
        try:
            self.fill()
        except StorageError:
            pass  # the server is away: the calls say so, and the next break tries again
        finally:
            with self._lock:
                self._filling = False

    def stats(self) -> PoolStats:
        """In use, idle, waiting."""
        with self._lock:
            return PoolStats(in_use=self._in_use, idle=len(self._idle), waiting=self._waiting)

    def close(self) -> None:
        """Closes what is idle now and the rest when it comes back; wakes those who wait."""
        with self._lock:
            self._closed = True
            self._freed.notify_all()
        self.clear()

    def after_fork(self) -> None:
        """The connections are the parent's: the child drops its copies and opens its own."""
        inherited, closed = self._idle, self._closed
        self._reset()
        self._closed = closed
        for link in inherited:
            link.close()
