"""The connection pool that SQL plugins share. It knows no driver: it is given three functions.

The settings mean what they mean in HikariCP (its README, "Configuration"), in seconds;
`docs/design/0002-the-pool.md` says why it is not one of the existing libraries.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from attrs import field, frozen

from statekeep import fork
from statekeep.errors import Closed, PoolTimeout
from statekeep.usage import PoolStats

C = TypeVar("C")

LIFETIME_JITTER = 0.025
"""The part of its lifetime by which a connection may end early (HikariCP's), so that those that
were opened together do not end together."""

HOUSEKEEPING = 30.0
"""Seconds between two rounds of the background thread (HikariCP's)."""

SLOW_CHECK = 0.1
"""Seconds after which a check that failed has waited for an answer in vain. The network forgot a
connection, and with it those that were idle for longer: the caller need not wait for each."""

RETRY_FILL = 1.0
"""Seconds until the background thread tries again to connect, after it failed."""


@frozen(kw_only=True)
class PoolOptions:
    """HikariCP's settings; times in seconds.

    Attributes:
        maximum_pool_size: connections at most, in use and idle together.
        minimum_idle: idle connections to keep ready; None for as many as the maximum.
        idle_timeout: how long a connection beyond `minimum_idle` may be idle.
        connection_timeout: how long a caller waits for a connection.
        max_lifetime: when a connection is replaced, once it is not in use.
        check_after: how long a connection may be idle without being checked before use.
        close_timeout: how long `close()` waits for connections in use.
    """

    maximum_pool_size: int = 10
    minimum_idle: int | None = None
    idle_timeout: float = 600.0
    connection_timeout: float = 30.0
    max_lifetime: float = 1800.0
    check_after: float = 0.01
    close_timeout: float = 5.0

    @property
    def keep_idle(self) -> int:
        """How many idle connections are kept ready."""
        least = self.maximum_pool_size if self.minimum_idle is None else self.minimum_idle
        return min(least, self.maximum_pool_size)


class Pooled(Generic[C]):
    """A place in the pool and, once it was opened, the connection in it.

    Give it back with `Pool.release` or `Pool.discard`. The pool refers only weakly to what it lent:
    a place that nobody holds any more is free again. An interrupt (Ctrl-C) can come after any call
    and so between `acquire` and the `try` that would give back.

    Attributes:
        connection: what `connect` made.
    """

    __slots__ = ("__weakref__", "connection", "ends", "idle_since", "life", "lost", "taken")

    def __init__(self, life: int, now: float) -> None:
        self.life = life
        self.taken = now
        self.idle_since = now
        self.ends = now
        self.connection: C
        self.lost: weakref.ref[Pooled[C]]

    @property
    def opened(self) -> bool:
        """Whether there is a connection in it."""
        return hasattr(self, "connection")


class _Lent(Generic[C]):
    """The places in use or being opened; one that is garbage leaves by itself."""

    def __init__(self, wake: SimpleQueue[None]) -> None:
        self._places: dict[int, weakref.ref[Pooled[C]]] = {}
        self._wake = wake

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, place: Pooled[C]) -> bool:
        return id(place) in self._places

    def __iter__(self) -> Iterator[Pooled[C]]:
        for reference in list(self._places.values()):
            place = reference()
            if place is not None:
                yield place

    def new(self, life: int, now: float) -> Pooled[C]:
        """A place in which a connection is to be opened."""
        place = Pooled[C](life, now)
        key, places, wake = id(place), self._places, self._wake

        def lose(_: object) -> None:  # anywhere, even under the lock of the pool: takes none
            places.pop(key, None)
            wake.put(None)

        place.lost = weakref.ref(place, lose)
        places[key] = place.lost
        return place

    def add(self, place: Pooled[C]) -> None:
        """A place that was idle."""
        self._places[id(place)] = place.lost

    def remove(self, place: Pooled[C]) -> None:
        """A place that is idle now, or closed."""
        del self._places[id(place)]


class _Waiter(Generic[C]):
    """A caller in the queue: woken with a place in the pool, or none where it was closed."""

    __slots__ = ("entry", "gate", "served")

    def __init__(self) -> None:
        self.gate = threading.Lock()
        self.gate.acquire()
        self.entry: Pooled[C] | None = None
        self.served = False


@frozen(kw_only=True)
class Connector(Generic[C]):
    """What a pool needs to know of a driver.

    Attributes:
        connect: opens a connection within this many seconds, or raises.
        check: whether a connection that was idle for so many seconds still works; never raises.
        close: closes a connection in any state; never raises.
        abandon: in a forked child: lets go of a connection that the parent goes on using.
        name: what the connections lead to, for messages.
    """

    connect: Callable[[float], C]
    check: Callable[[C, float], bool]
    close: Callable[[C], None]
    abandon: Callable[[C], None]
    name: str = field(default="the database")


class Pool(Generic[C]):
    """Up to a number of connections, handed out to those who wait in the order of their coming."""

    def __init__(
        self,
        connector: Connector[C],
        options: PoolOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connector = connector
        self._options = options
        self._clock = clock
        self._life = 0
        self._closed = False
        self._kept: list[Pooled[C]] = []
        self._reset()
        fork.register(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._created = self._failed = 0
        self._waits = self._timeouts = 0
        self._wait_time = 0.0
        self._idle: deque[Pooled[C]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._lent: _Lent[C] = _Lent(self._wake)
        self._waiters: deque[_Waiter[C]] = deque()
        self._returned = threading.Condition(self._lock)
        self._keeper: threading.Thread | None = None

    def acquire(self) -> Pooled[C]:
        """A connection that works, as far as a check can tell; the caller gives it back.

        Raises:
            PoolTimeout: none became free in time.
            Closed: the pool is closed. What `connect` raises is raised as it is.
        """
        begun = self._clock()
        while True:
            entry = self._take(begun)
            if not entry.opened:
                left = self._options.connection_timeout - (self._clock() - begun)
                return self._connected(entry, max(0.001, left))
            idle = begun - entry.idle_since
            if idle <= self._options.check_after and begun < entry.ends:
                return entry
            if begun < entry.ends:
                asked = self._clock()
                if self._connector.check(entry.connection, idle):
                    return entry
                if self._clock() - asked >= SLOW_CHECK:
                    self.drop_idle()
            self.discard(entry)

    def acquire_idle(self, ready: Callable[[C, float], bool]) -> Pooled[C] | None:
        """A connection that is idle, where there is one that will do; never waits.

        Args:
            ready: whether one that was idle for so many seconds works, told without waiting.
        """
        with self._lock:
            if self._closed or not self._idle:
                return None
            entry, now = self._idle[-1], self._clock()
            if now >= entry.ends or not ready(entry.connection, now - entry.idle_since):
                return None
            self._idle.pop()
            entry.taken = now
            self._lent.add(entry)
            return entry

    def release(self, entry: Pooled[C]) -> None:
        """Gives back a connection that is as good as before."""
        if entry.life != self._life:
            return  # lent before a fork: the parent's
        now = self._clock()
        if self._closed or now >= entry.ends:
            self.discard(entry)
            return
        with self._lock:
            if entry not in self._lent:
                return
            entry.idle_since = now
            if self._waiters:
                entry.taken = now
                self._serve(self._waiters.popleft(), entry)
                return
            self._lent.remove(entry)
            if not self._closed:
                self._idle.append(entry)
                return
        self._connector.close(entry.connection)

    def discard(self, entry: Pooled[C]) -> None:
        """Closes a connection that failed, or that nobody should use any more."""
        if entry.life != self._life:
            return
        with self._lock:
            if entry not in self._lent:
                return
            self._lent.remove(entry)
            self._give_place()
            self._returned.notify_all()
        self._connector.close(entry.connection)
        self._wake.put(None)

    def drop_idle(self) -> None:
        """Closes all idle connections: what failed in one of them has failed them all."""
        with self._lock:
            dropped = list(self._idle)
            self._idle.clear()
            self._give_places()
        for entry in dropped:
            self._connector.close(entry.connection)

    def counters(self) -> PoolStats:
        """What the pool holds and did."""
        with self._lock:
            in_use, idle = sum(entry.opened for entry in self._lent), len(self._idle)
            return PoolStats(
                in_use=in_use,
                idle=idle,
                waiting=len(self._waiters),
                limit=self._options.maximum_pool_size,
                created=self._created,
                closed=max(0, self._created - in_use - idle),
                failed=self._failed,
                waits=self._waits,
                wait_timeouts=self._timeouts,
                wait_seconds=self._wait_time,
            )

    @property
    def closed(self) -> bool:
        """Whether `close()` was called."""
        return self._closed

    def close(self) -> int:
        """Closes what is idle and waits, bounded, for what is in use.

        Returns:
            How many connections are still in use; each is closed when it is given back.
        """
        with self._lock:
            self._closed = True
            while self._waiters:
                self._serve(self._waiters.popleft(), None)
            idle = list(self._idle)
            self._idle.clear()
        self._wake.put(None)
        for entry in idle:
            self._connector.close(entry.connection)
        deadline = time.monotonic() + self._options.close_timeout
        with self._lock:
            while self._lent:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._returned.wait(min(left, 0.1))  # nobody notifies of what was lost
            remaining = len(self._lent)
            keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread():
            keeper.join(max(0.0, deadline - time.monotonic()))
        return remaining

    def after_fork(self) -> None:
        """The child begins with an empty pool; what it inherited is the parent's.

        The entries are kept, as their destructors might write to the parent's connections.
        """
        inherited = [*self._idle, *(entry for entry in self._lent if entry.opened)]
        self._life += 1
        self._kept += inherited
        self._reset()
        for entry in inherited:
            self._connector.abandon(entry.connection)

    def _take(self, begun: float) -> Pooled[C]:
        """A place with an idle connection, or one in which to open a connection."""
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if self._keeper is None:
                self._start_keeper()
            if self._idle:
                entry = self._idle.pop()  # the last one used: the others can go when idle too long
                entry.taken = begun
                self._lent.add(entry)
                return entry
            if not self._waiters and self._has_room():
                return self._lent.new(self._life, begun)
            waiter = _Waiter[C]()
            self._waiters.append(waiter)
            self._waits += 1
        return self._wait(waiter, begun)

    def _wait(self, waiter: _Waiter[C], begun: float) -> Pooled[C]:
        started = time.monotonic()
        left = self._options.connection_timeout - (self._clock() - begun)
        woken = False
        try:
            woken = waiter.gate.acquire(timeout=max(0.0, left))
        finally:  # also where an exception came into the wait, such as KeyboardInterrupt
            with self._lock:
                self._wait_time += time.monotonic() - started
                if not waiter.served:
                    with suppress(ValueError):  # an interrupt came while it was being served
                        self._waiters.remove(waiter)
                    self._timeouts += 1
                    problem = self._timeout_error()
            if not woken and waiter.entry is not None:
                self._return(waiter.entry)  # served in the very moment in which it gave up
        if not waiter.served:
            raise problem
        if not woken:
            raise self._timeout_error()
        if waiter.entry is None:
            raise self._closed_error()
        if self._closed:
            self._return(waiter.entry)
            raise self._closed_error()
        return waiter.entry

    def _return(self, entry: Pooled[C]) -> None:
        if entry.opened:
            self.release(entry)
        else:
            self._give_up(entry)

    def _give_up(self, place: Pooled[C]) -> None:
        """Frees a place in which no connection was opened."""
        with self._lock:
            if place in self._lent:
                self._lent.remove(place)
            self._give_place()
            self._returned.notify_all()

    def _serve(self, waiter: _Waiter[C], entry: Pooled[C] | None) -> None:
        waiter.entry = entry
        waiter.served = True
        waiter.gate.release()

    def _give_place(self) -> bool:
        """Lets the next in the queue open a connection, where there is room for one."""
        if not self._waiters or self._closed or not self._has_room():
            return False
        self._serve(self._waiters.popleft(), self._lent.new(self._life, self._clock()))
        return True

    def _give_places(self) -> None:
        while self._give_place():
            pass

    def _has_room(self) -> bool:
        return len(self._idle) + len(self._lent) < self._options.maximum_pool_size

    def _connected(self, place: Pooled[C], timeout: float) -> Pooled[C]:
        """The place with a new connection in it."""
        try:
            connection = self._connector.connect(timeout)
            with self._lock:  # both at once: `closed` is what was created and is not there any more
                place.connection = connection
                self._created += 1
        except BaseException:
            self._failed += 1
            self._give_up(place)
            raise
        now = self._clock()
        lifetime = self._options.max_lifetime * (1 - LIFETIME_JITTER * random.random())
        place.taken = place.idle_since = now
        place.ends = now + lifetime
        return place

    def _closed_error(self) -> Closed:
        return Closed(f"the connection pool to {self._connector.name} is closed")

    def _timeout_error(self) -> PoolTimeout:
        now = self._clock()
        lent = list(self._lent)
        held = sorted((now - entry.taken for entry in lent if entry.opened), reverse=True)
        times = ", ".join(f"{seconds:.1f} s" for seconds in held[:5]) or "none"
        return PoolTimeout(
            f"no connection to {self._connector.name} became free within "
            f"{self._options.connection_timeout:g} s: {len(held)} of at most "
            f"{self._options.maximum_pool_size} are in use (the longest for {times}), "
            f"{len(lent) - len(held)} being opened, {len(self._waiters)} other callers wait; "
            "nothing was sent. Raise maximum_pool_size, or look for what holds connections so long"
        )

    # --- the background thread ---

    def _start_keeper(self) -> None:
        keeper = threading.Thread(
            target=_keep_house,
            args=(weakref.ref(self), self._wake, self._life),
            name=f"statekeep-pool-{self._connector.name}"[:60],
            daemon=True,
        )
        keeper.start()
        self._keeper = keeper

    def keep_house(self) -> float:
        """One round: closes what is too old or idle too long, fills up; seconds to the next."""
        now = self._clock()
        with self._lock:
            surplus = [entry for entry in self._idle if now >= entry.ends]
            staying = [entry for entry in self._idle if now < entry.ends]  # longest idle first
            while len(staying) > self._options.keep_idle:
                if now - staying[0].idle_since < self._options.idle_timeout:
                    break
                surplus.append(staying.pop(0))
            self._idle = deque(staying)
            self._give_places()
        for entry in surplus:
            self._connector.close(entry.connection)
        return self._fill()

    def _fill(self) -> float:
        while True:
            with self._lock:
                opening = sum(not entry.opened for entry in self._lent)
                enough = len(self._idle) + opening >= self._options.keep_idle
                if self._closed or enough or not self._has_room():
                    return min(HOUSEKEEPING, max(0.05, self._options.idle_timeout / 2))
                place = self._lent.new(self._life, self._clock())
            try:
                entry = self._connected(place, self._options.connection_timeout)
            except Exception:  # a caller who needs one meets the same error, and gets to see it
                return RETRY_FILL
            self.release(entry)


def _keep_house(pool: weakref.ref[Pool[C]], wake: SimpleQueue[None], life: int) -> None:
    """Runs in the background as long as the pool lives, is open, and was not forked."""
    pause = 0.001
    while True:
        with suppress(Empty):
            wake.get(timeout=pause)
            while True:
                wake.get_nowait()
        target = pool()
        if target is None or target.closed or target._life != life:
            return
        pause = target.keep_house()
        del target
