"""The pool against connections that do as they are told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from statekeep.errors import Closed, PoolTimeout, Unavailable
from statekeep.pool import LIFETIME_JITTER, Connector, Pool, Pooled, PoolOptions
from statekeep.usage import PoolStats

PATIENCE = 20.0


class Fake:
    """A connection that can be broken."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.works = True
        self.closed = self.abandoned = False


class Driver:
    """Makes fake connections, and fails to when told."""

    def __init__(self) -> None:
        self.made: list[Fake] = []
        self.checks: list[float] = []
        self.during_check: Callable[[], object] = int
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def connect(self, timeout: float) -> Fake:
        if self.gate is not None:
            assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.made.append(Fake(len(self.made)))
        return self.made[-1]

    def check(self, connection: Fake, idle: float) -> bool:
        self.checks.append(idle)
        self.during_check()
        return connection.works

    @staticmethod
    def close(connection: Fake) -> None:
        connection.closed = True

    @staticmethod
    def abandon(connection: Fake) -> None:
        connection.abandoned = True

    @property
    def open(self) -> list[Fake]:
        return [each for each in self.made if not each.closed]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(driver: Driver, clock: Clock) -> Iterator[Callable[..., Pool[Fake]]]:
    """Makes pools without background filling, unless told otherwise."""
    pools: list[Pool[Fake]] = []

    def make(*, clock: Callable[[], float] = clock, **options: Any) -> Pool[Fake]:
        given = {"maximum_pool_size": 2, "minimum_idle": 0, "close_timeout": 0.05, **options}
        connector = Connector(
            connect=driver.connect, check=driver.check, close=driver.close,
            abandon=driver.abandon, name="fakes",
        )  # fmt: skip
        pools.append(Pool(connector, PoolOptions(**given), clock))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def eventually(probe: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not probe():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def in_thread(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Runs the function; its result or error lands in the list."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread, results


def test_a_connection_is_used_again(make: Any, driver: Driver) -> None:
    """One after the other needs one connection, the one used last."""
    pool = make()
    for _ in range(5):
        entry = pool.acquire()
        assert pool.counters().in_use == 1
        pool.release(entry)
    assert len(driver.made) == 1
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    assert pool.acquire() is second


def test_nothing_is_opened_before_it_is_needed(make: Any, driver: Driver) -> None:
    """A pool costs nothing, not even a thread, until the first use."""
    before = threading.active_count()
    make(minimum_idle=2)
    assert driver.made == [] and threading.active_count() == before


def test_no_more_than_the_maximum_are_open(make: Any, driver: Driver) -> None:
    """Many threads share what there is, and all get their turn."""
    pool = make(maximum_pool_size=3, clock=time.monotonic, connection_timeout=PATIENCE)
    most, lock = [0], threading.Lock()

    def work() -> int:
        for _ in range(200):
            entry = pool.acquire()
            with lock:
                most[0] = max(most[0], pool.counters().in_use)
            pool.release(entry)
        return 1

    threads = [in_thread(work) for _ in range(8)]
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert [results for _, results in threads] == [[1]] * 8
    assert most[0] <= 3 and len(driver.made) <= 3
    assert pool.counters().in_use == 0 and pool.counters().waiting == 0


def test_those_who_wait_are_served_in_the_order_of_their_coming(make: Any) -> None:
    """First come, first served: nobody overtakes, not even who comes when one is given back."""
    pool = make(maximum_pool_size=1, clock=time.monotonic, connection_timeout=PATIENCE)
    held = pool.acquire()
    order: list[int] = []

    def wait(number: int) -> None:
        entry = pool.acquire()
        order.append(number)
        pool.release(entry)

    threads = []
    for number in range(6):
        threads.append(in_thread(lambda number=number: wait(number))[0])
        eventually(lambda number=number: pool.counters().waiting == number + 1, "a waiter")
    pool.release(held)
    for thread in threads:
        thread.join(PATIENCE)
    assert order == list(range(6))
    assert pool.counters().waits == 6 and pool.counters().wait_seconds > 0


def test_waiting_ends_with_an_error_that_says_who_holds_them(make: Any, clock: Clock) -> None:
    """How many are in use, of how many, and for how long."""
    pool = make(connection_timeout=0.02)
    first = pool.acquire()
    clock.now += 100
    second = pool.acquire()
    clock.now += 23
    with pytest.raises(
        PoolTimeout, match=r"2 of at most 2 are in use .*123\.0 s, 23\.0 s"
    ) as caught:
        pool.acquire()
    assert isinstance(caught.value, Unavailable)
    assert pool.counters().wait_timeouts == 1 and pool.counters().waiting == 0
    assert first is not second


def test_who_gave_up_leaves_nothing_behind(make: Any, driver: Driver) -> None:
    """What is given back after a time-out goes to the next caller."""
    pool = make(maximum_pool_size=1, connection_timeout=0.01)
    held = pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire()
    pool.release(held)
    assert pool.acquire() is held and len(driver.made) == 1


def test_time_outs_and_returns_may_coincide(make: Any) -> None:
    """However they meet, no connection is lost and none is handed out twice."""
    pool = make(maximum_pool_size=2, connection_timeout=0.0005, clock=time.monotonic)
    holders: set[Any] = set()
    lock = threading.Lock()

    def work() -> int:
        got = 0
        for _ in range(300):
            try:
                entry = pool.acquire()
            except PoolTimeout:
                continue
            with lock:
                assert entry not in holders
                holders.add(entry)
            time.sleep(0.0004)
            with lock:
                holders.remove(entry)
            pool.release(entry)
            got += 1
        return got

    threads = [in_thread(work) for _ in range(6)]
    for thread, _ in threads:
        thread.join(PATIENCE)
    assert all(isinstance(results[0], int) for _, results in threads), threads
    counters = pool.counters()
    assert (counters.in_use, counters.waiting) == (0, 0) and counters.idle <= 2


@pytest.mark.parametrize(("seconds", "checks"), [(2.0, 1), (0.0, 3)])
def test_a_check_that_waited_in_vain_is_not_repeated_for_each(
    make: Any, driver: Driver, clock: Clock, seconds: float, checks: int
) -> None:
    """The network forgot them all: one wait. Those that say so at once are asked one by one."""
    pool = make(maximum_pool_size=3)
    for entry in [pool.acquire() for _ in range(3)]:
        entry.connection.works = False
        pool.release(entry)
    clock.now += 60
    driver.during_check = lambda: setattr(clock, "now", clock.now + seconds)
    assert pool.acquire().connection.number == 3
    assert len(driver.checks) == checks and len(driver.open) == 1


def test_one_that_was_idle_is_checked_before_use(make: Any, driver: Driver, clock: Clock) -> None:
    """Not when it was used just now; and one that fails is replaced, unseen by the caller."""
    pool = make(check_after=0.5)
    pool.release(pool.acquire())
    pool.release(pool.acquire())
    assert driver.checks == []
    clock.now += 7
    entry = pool.acquire()
    assert driver.checks == [7] and entry.connection.number == 0
    pool.release(entry)
    clock.now += 7
    entry.connection.works = False
    assert pool.acquire().connection.number == 1
    assert driver.made[0].closed


def test_one_that_failed_is_never_used_again(make: Any, driver: Driver) -> None:
    """Discarded, it is closed, and its place goes to who waits."""
    pool = make(maximum_pool_size=1, clock=time.monotonic, connection_timeout=PATIENCE)
    entry = pool.acquire()
    thread, results = in_thread(pool.acquire)
    eventually(lambda: pool.counters().waiting, "a waiter")
    pool.discard(entry)
    thread.join(PATIENCE)
    assert entry.connection.closed and results[0].connection.number == 1
    pool.discard(entry)
    pool.release(entry)
    assert pool.counters().in_use == 1 and pool.counters().idle == 0


def test_a_failure_to_connect_is_the_callers_and_frees_the_place(make: Any, driver: Driver) -> None:
    """The error comes as it is, and the next one may try."""
    pool = make(maximum_pool_size=1)
    driver.error = Unavailable("no route")
    for _ in range(3):
        with pytest.raises(Unavailable, match="no route"):
            pool.acquire()
    driver.error = None
    pool.release(pool.acquire())
    assert pool.counters().failed == 3


def test_a_connection_ends_with_its_lifetime(make: Any, driver: Driver, clock: Clock) -> None:
    """Not while it is in use, but before it is used again; with jitter, at most 2.5 % early."""
    pool = make(max_lifetime=1000, maximum_pool_size=50)
    entries = [pool.acquire() for _ in range(50)]
    ends = {entry.ends - clock.now for entry in entries}
    assert len(ends) > 40 and min(ends) >= 1000 * (1 - LIFETIME_JITTER) and max(ends) <= 1000
    pool.release(entries[0])
    clock.now += 1001
    assert pool.acquire().connection.number == 50
    assert driver.made[0].closed and not driver.made[1].closed
    pool.release(entries[1])
    assert driver.made[1].closed


def test_the_minimum_is_kept_idle(make: Any, driver: Driver) -> None:
    """In the background, beside what is in use, up to the maximum."""
    pool = make(maximum_pool_size=4, minimum_idle=3)
    entry = pool.acquire()
    eventually(lambda: pool.counters().idle == 3, "three idle")
    second = pool.acquire()
    pool.keep_house()
    assert len(driver.open) == 4
    pool.discard(entry)
    pool.discard(second)
    eventually(lambda: pool.counters().idle == 3, "three idle again")
    assert len(driver.open) == 3


def test_without_a_minimum_it_is_the_maximum(make: Any) -> None:
    """HikariCP's default: a pool of fixed size."""
    pool = make(maximum_pool_size=3, minimum_idle=None)
    pool.release(pool.acquire())
    eventually(lambda: pool.counters().idle == 3, "a full pool")


def test_idle_surplus_is_closed(make: Any, driver: Driver, clock: Clock) -> None:
    """The longest idle first, once the time is over, down to the minimum."""
    pool = make(maximum_pool_size=5, minimum_idle=1, idle_timeout=60)
    entries = [pool.acquire() for _ in range(4)]
    for entry in entries:
        pool.release(entry)
        clock.now += 20
    pool.keep_house()
    assert [entry.connection.closed for entry in entries] == [True, True, False, False]
    clock.now += 1000
    pool.keep_house()
    assert [entry.connection.closed for entry in entries] == [True, True, True, False]
    assert pool.counters().idle == 1 and pool.counters().closed == 3


def test_a_failing_background_is_quiet_and_tries_again(make: Any, driver: Driver) -> None:
    """Callers see the error of their own attempt; the pool fills when it can."""
    pool = make(maximum_pool_size=2, minimum_idle=2)
    entry = pool.acquire()
    driver.error = Unavailable("down")
    pool.discard(entry)
    assert pool.keep_house() <= 1.0
    driver.error = None
    eventually(lambda: pool.counters().idle == 2, "a full pool")


def test_close_waits_for_what_is_in_use(make: Any, driver: Driver) -> None:
    """And closes it when it comes back; new callers are told."""
    pool = make(close_timeout=PATIENCE)
    entry = pool.acquire()
    pool.release(pool.acquire())
    thread, results = in_thread(pool.close)
    eventually(lambda: pool.closed, "closing")
    with pytest.raises(Closed):
        pool.acquire()
    pool.release(entry)
    thread.join(PATIENCE)
    assert results == [0] and driver.open == []
    assert pool.close() == 0


def test_close_does_not_wait_for_ever(make: Any, driver: Driver) -> None:
    """What is still in use then is closed when it is given back."""
    pool = make(close_timeout=0.02)
    entry = pool.acquire()
    assert pool.close() == 1
    assert not entry.connection.closed
    pool.release(entry)
    assert driver.open == []


def test_close_wakes_those_who_wait(make: Any) -> None:
    """They are told that it is closed, and do not wait for their time-out."""
    pool = make(maximum_pool_size=1, connection_timeout=PATIENCE, clock=time.monotonic)
    held = pool.acquire()
    thread, results = in_thread(pool.acquire)
    eventually(lambda: pool.counters().waiting, "a waiter")
    pool.close()
    thread.join(PATIENCE)
    assert isinstance(results[0], Closed)
    pool.release(held)


def test_close_ends_the_background_thread(make: Any) -> None:
    """Nothing of the pool goes on running."""
    pool = make(minimum_idle=1)
    pool.release(pool.acquire())
    eventually(lambda: pool.counters().idle == 1, "idle")
    keeper = pool._keeper
    assert keeper is not None and keeper.daemon
    pool.close()
    keeper.join(PATIENCE)
    assert not keeper.is_alive()


def test_what_is_being_opened_while_the_pool_closes_is_closed(make: Any, driver: Driver) -> None:
    """A connection that comes too late is handed to its caller, and closed on its return."""
    pool = make(close_timeout=0.02)
    driver.gate = threading.Event()
    thread, results = in_thread(pool.acquire)
    eventually(lambda: len(pool._lent) == 1, "opening")
    pool.close()
    driver.gate.set()
    thread.join(PATIENCE)
    if isinstance(results[0], Pooled):
        pool.release(results[0])
    assert driver.open == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_begins_anew(make: Any, driver: Driver) -> None:
    """It opens its own, and neither closes nor uses the parent's, idle or in use."""
    pool = make(maximum_pool_size=3)
    idle, used = pool.acquire(), pool.acquire()
    pool.release(idle)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            counters = pool.counters()
            assert counters == PoolStats(limit=3)
            pool.release(used)
            own = pool.acquire()
            assert own.connection.number == 2
            pool.discard(used)
            pool.release(own)
            pool.close()
            assert not driver.made[0].closed and not driver.made[1].closed
            assert driver.made[0].abandoned and driver.made[1].abandoned
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert pool.acquire() is idle
    assert not used.connection.closed


def test_counters_add_up(make: Any, driver: Driver) -> None:
    """Created is what was made; what is open is in use or idle."""
    pool = make(maximum_pool_size=3)
    entries = [pool.acquire() for _ in range(3)]
    pool.release(entries[0])
    pool.discard(entries[1])
    counters = pool.counters()
    assert (counters.created, counters.closed, counters.in_use, counters.idle) == (3, 1, 1, 1)
    assert counters.created - counters.closed == counters.in_use + counters.idle
    pool.drop_idle()
    assert pool.counters().idle == 0 and len(driver.open) == 1


def test_what_was_closed_never_grows_less(make: Any, driver: Driver) -> None:
    """Not even in the moment in which a connection was opened: a counter that falls looks like a
    process that began anew.
    """
    seen: list[int] = []

    def clock() -> float:
        seen.extend([pool.counters().closed] if pool else [])
        return 1000.0

    pool: Any = None
    pool = make(maximum_pool_size=3, clock=clock, idle_timeout=60)
    for _ in range(3):
        pool.discard(pool.acquire())
    assert seen == sorted(seen) and seen[-1] == 2 and pool.counters().closed == 3


def test_what_is_lost_is_replaced(make: Any, driver: Driver) -> None:
    """A place that nobody holds any more (an interrupt came) is free again, also for a waiter."""
    pool = make(maximum_pool_size=1, clock=time.monotonic, connection_timeout=PATIENCE)
    held = pool.acquire()
    thread, results = in_thread(lambda: pool.release(pool.acquire()))
    eventually(lambda: pool.counters().waiting == 1, "waiting")
    del held
    thread.join(PATIENCE)
    assert results == [None]
    assert pool.counters().created == 2 and pool.counters().closed == 1
