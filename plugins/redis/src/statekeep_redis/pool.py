"""A pool of connections to one server: last in, first out, so that idle ones grow old together."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from statekeep import fork
from statekeep.errors import Closed, PoolTimeout, StorageError
from statekeep.usage import PoolStats

from statekeep_redis.config import PoolConfig


class Link(Protocol):
    """A connection, as the pool sees it."""

    used: bool

    def usable(self) -> bool:
        """Whether it can still be used; asked before each use."""

    def ready(self) -> bool:
        """The same, told without asking the server."""

    def close(self) -> None:
        """Closes it; no error whatever its state."""


L = TypeVar("L", bound=Link)

LOST_SECONDS = 0.1
"""How often a caller who waits looks for connections that were lost: nobody notifies of those."""


class Place(Generic[L]):
    """A connection in use, or one being opened.

    The pool refers to it only weakly: when an interrupt (Ctrl-C) strikes where nothing could give
    it back, garbage collection closes the connection, and its place is free again.

    Attributes:
        link: the connection.
        generation: the pool's when it was lent; later ones do not take it back.
    """

    __slots__ = ("__weakref__", "generation", "link")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.link: L


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
        self._lent: weakref.WeakSet[Place[L]] = weakref.WeakSet()
        self._waiting = self._generation = 0
        self._created = self._failed = self._waits = self._wait_timeouts = 0
        self._wait_seconds = 0.0
        self._filling = False
        self._closed = False

    def acquire(self) -> Place[L]:
        """A connection that was alive a moment ago.

        Raises:
            PoolTimeout: all are in use, and none came back in time.
        """
        while True:
            with self._lock:
                if self._closed:
                    raise Closed("this redis storage is closed; open another one")
                if self._all_in_use():
                    self._wait()
                place = Place[L](self._generation)
                link = self._idle.pop() if self._idle else None
                if link is not None:
                    place.link = link
                self._lent.add(place)
            try:
                if link is None:
                    self._open(place)
                if link is None or link.usable():
                    return place
            except BaseException:
                if link is not None:
                    link.close()
                self._gone(place)
                raise
            self.discard(place)  # those below it have been idle for longer

    def acquire_idle(self) -> Place[L] | None:
        """An idle connection that needs no ping, where there is one; never waits."""
        with self._lock:
            if self._closed or not self._idle or not self._idle[-1].ready():
                return None
            place = Place[L](self._generation)
            place.link = self._idle.pop()
            self._lent.add(place)
            return place

    def _open(self, place: Place[L]) -> None:
        """Opens a connection in this place."""
        try:
            link = self._connect()
        except BaseException:
            with self._lock:
                self._failed += 1
            raise
        with self._lock:  # both at once: `closed` is what was created and is not there any more
            place.link = link
            self._created += 1

    def _all_in_use(self) -> bool:
        return self._most is not None and not self._idle and len(self._lent) >= self._most

    def _wait(self) -> None:
        begun = time.monotonic()
        deadline = begun + self._timeout
        self._waiting += 1
        self._waits += 1
        try:
            while self._all_in_use():
                left = deadline - time.monotonic()
                if left > 0:
                    self._freed.wait(min(left, LOST_SECONDS))
                else:
                    self._wait_timeouts += 1
                    raise PoolTimeout(
                        f"redis: all {self._most} connections to {self._server} were in use for "
                        f"{self._timeout:g} s: raise pool_config.max_total, or hold fewer at once"
                    )
            if self._closed:
                raise Closed("this redis storage was closed while a call waited for a connection")
        finally:
            self._waiting -= 1
            self._wait_seconds += time.monotonic() - begun

    def release(self, place: Place[L]) -> None:
        """Takes a connection back whose last answer was read to its end."""
        link = place.link
        with self._lock:
            keep = (
                place in self._lent  # else it was lent before a fork, and is the parent's
                and place.generation == self._generation
                and not self._closed
                and (self._most_idle is None or len(self._idle) < self._most_idle)
            )
            self._lent.discard(place)
            if keep:
                link.used = True
                self._idle.append(link)
            self._freed.notify()
        if not keep:
            link.close()

    def discard(self, place: Place[L], *, others: bool = True) -> None:
        """Closes a broken connection, and with it the idle ones: they broke with it."""
        place.link.close()
        self._gone(place)
        if others:
            self.clear()
            self._refill()

    def _gone(self, place: Place[L]) -> None:
        with self._lock:
            self._lent.discard(place)
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
                if self._full():
                    return
                place = Place[L](self._generation)
                self._lent.add(place)
            try:
                self._open(place)
            except BaseException:
                self._gone(place)
                raise
            self.release(place)

    def _full(self) -> bool:
        return self._closed or len(self._lent) + len(self._idle) >= self._least

    def _refill(self) -> None:
        """Brings the pool back to its minimum, without keeping the caller."""
        try:
            with self._lock:
                if self._filling or self._full():
                    return
                self._filling = True
            name = "statekeep-redis-pool"
            threading.Thread(target=self._fill_later, name=name, daemon=True).start()
        except BaseException:
            self._filling = False
            raise

    def _fill_later(self) -> None:
        try:
            self.fill()
        except StorageError:
            pass  # the server is away: the calls say so, and the next break tries again
        finally:
            with self._lock:
                self._filling = False

    def stats(self) -> PoolStats:
        """What the pool holds and did."""
        with self._lock:
            in_use = sum(hasattr(place, "link") for place in self._lent)  # else being opened
            idle = len(self._idle)
            return PoolStats(
                in_use=in_use,
                idle=idle,
                waiting=self._waiting,
                limit=self._most,
                created=self._created,
                closed=max(0, self._created - in_use - idle),
                failed=self._failed,
                waits=self._waits,
                wait_timeouts=self._wait_timeouts,
                wait_seconds=self._wait_seconds,
            )

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
