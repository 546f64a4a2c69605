"""Servers and networks that fall silent, or break off in mid-word: what the caller is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from statekeep import OutcomeUnknown, Unavailable, VersionConflict

from tests.postgres.conftest import Open
from tests.postgres.loads import patiently
from tests.servers.postgres import PostgresProcess
from tests.servers.proxy import Proxy

SHORT = {"statement_timeout": 300, "connect_timeout": 500, "connection_timeout": 1000}
"""Time limits for tests that wait them out; an answer has `GRACE` beyond the first."""


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second instead of five, so that the tests wait less."""
    monkeypatch.setattr("statekeep_postgres.driver.GRACE", 0.5)


def test_a_frozen_server(own: PostgresProcess, opened: Open) -> None:
    """SIGSTOP: within the time limits a write is unknown, a read unavailable; then it goes on."""
    storage = opened(own, **SHORT)
    version = storage.values.put("key", b"before")
    own.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="read the versions again"):
            storage.values.put("key", b"lost?", expected=version)
        assert time.monotonic() - started < 0.8 + 3
        for attempt in (  # each on a new connection, which is not even greeted
            lambda: storage.values.get("key"),
            lambda: storage.values.put("key", b"never", expected=version),
        ):
            started = time.monotonic()
            with pytest.raises(
                Unavailable, match=r"cannot connect: timed out; nothing was applied"
            ):
                attempt()
            assert time.monotonic() - started < 1.0 + 3
    finally:
        own.thaw()
    entry = patiently(lambda: storage.values.get("key"))
    assert entry is not None and entry.value in (b"before", b"lost?")
    assert storage.values.put("key", b"after", expected=entry.version) == entry.version + 1


def test_a_read_of_a_frozen_server(own: PostgresProcess, opened: Open) -> None:
    """A read in flight is Unavailable within the time limit, and not tried for another one."""
    storage = opened(own, **SHORT)
    storage.values.put("key", b"value")
    own.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(Unavailable, match="nothing was applied"):
            storage.values.get("key")
        assert time.monotonic() - started < 0.8 + 3
    finally:
        own.thaw()
    assert patiently(lambda: storage.values.get("key")) is not None


def test_a_network_that_swallows_everything(opened: Open, proxy: Proxy) -> None:
    """No answer at all, on open connections and new ones; then all works without a restart."""
    storage = opened(proxy, **SHORT)
    storage.values.put("key", b"1")
    proxy.blackhole = True
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        storage.values.put("key", b"2")
    with pytest.raises(Unavailable):
        storage.values.get("key")
    assert time.monotonic() - started < 0.8 + 1.0 + 3
    proxy.blackhole = False
    proxy.cut()
    entry = patiently(lambda: storage.values.get("key"))
    assert entry is not None and entry.value == b"1"


def test_idle_connections_that_a_firewall_forgot(opened: Open, proxy: Proxy) -> None:
    """All of the pool is dead without a word: the next write is fine, and does not try each."""
    storage = opened(proxy, maximum_pool_size=5, minimum_idle=5)
    version = storage.values.put("key", b"1")
    patiently_until(lambda: storage.stats().pool.idle >= 4)
    time.sleep(0.6)  # idle for so long that it is asked before use
    proxy.drop_silently()
    started = time.monotonic()
    assert storage.values.put("key", b"2", expected=version) == version + 1
    assert time.monotonic() - started < 2 * 2.0, "one wait for an answer is enough"
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"2"


def patiently_until(probe: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not probe():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_answer_that_is_cut_off(opened: Open, proxy: Proxy) -> None:
    """The commit arrived, its answer did not: each kind of write is unknown, and not sent again."""
    storage = opened(proxy)
    version = storage.values.put("key", b"0")
    storage.deferred.schedule("queue", "id", due=timedelta(0))
    writes: list[Callable[[], object]] = [
        lambda: storage.values.put("key", b"1", expected=version),
        lambda: storage.values.put("other", b"1"),
        lambda: storage.sets.add("set", b"member"),
        lambda: storage.deferred.claim("queue"),
    ]
    for write in writes:
        proxy.cut_answers = True
        before = proxy.requests
        with pytest.raises(OutcomeUnknown, match="read the versions again"):
            write()
        assert proxy.requests <= before + 1
        proxy.cut_answers = False
        storage.ping()  # the next write is on a connection that works
    entry = storage.values.get("key")
    assert entry is not None and (entry.value, entry.version) == (b"1", version + 1)
    assert storage.sets.members("set") == {b"member"}
    assert [message.attempt for message in storage.deferred.scan("queue")] == [1]
    with pytest.raises(VersionConflict):
        storage.values.put("key", b"1", expected=version)


def test_a_read_whose_answer_is_cut_off(opened: Open, proxy: Proxy) -> None:
    """A read is said again on a new connection, and given up when that is cut as well."""
    storage = opened(proxy)
    storage.values.put("key", b"value")
    proxy.cut()  # what it finds when it looks
    assert storage.values.get("key") is not None
    proxy.cut_answers = True
    with pytest.raises(Unavailable):
        storage.values.get("key")
    proxy.cut_answers = False
    assert storage.values.get("key") is not None


def test_a_connection_cut_before_the_write(opened: Open, proxy: Proxy) -> None:
    """Cut while idle: the next write finds out beforehand, and succeeds."""
    storage = opened(proxy)
    version = storage.values.put("key", b"0")
    for number in range(1, 6):
        proxy.cut()
        time.sleep(0.02)
        version = storage.values.put("key", b"%d" % number, expected=version)
    proxy.cut()
    proxy.refuse = True
    time.sleep(0.02)
    with pytest.raises(Unavailable, match="nothing was applied"):
        storage.values.put("key", b"never", expected=version)
    proxy.refuse = False
    entry = storage.values.get("key")
    assert entry is not None and (entry.value, entry.version) == (b"5", version)


def test_a_large_write_that_is_cut_while_it_is_sent(opened: Open, proxy: Proxy) -> None:
    """Half of a statement is nothing: it is never applied, and the caller is told so."""
    storage = opened(proxy)
    version = storage.values.put("key", b"before")

    def cut() -> None:
        for _ in range(2):  # what never left is sent once more
            goal = proxy.requests + 30
            patiently_until(lambda goal=goal: proxy.requests >= goal)
            proxy.cut()

    thread = threading.Thread(target=cut)
    proxy.slow_requests = 0.01
    thread.start()
    with pytest.raises(Unavailable, match="nothing was applied"):
        storage.values.put("key", b"x" * 30_000_000, expected=version)
    thread.join()
    proxy.slow_requests = 0.0
    entry = storage.values.get("key")
    assert entry is not None and (entry.value, entry.version) == (b"before", version)


def test_a_counter_behind_a_connection_that_keeps_breaking(opened: Open, proxy: Proxy) -> None:
    """Conditional writes through cuts at any moment: acknowledged ones count once, none twice."""
    storage = opened(proxy)
    storage.values.put("n", b"0")
    stop = threading.Event()

    def cutter() -> None:
        while not stop.wait(0.015):
            proxy.cut()

    thread = threading.Thread(target=cutter)
    thread.start()
    acknowledged = unknown = 0
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                entry = storage.values.get("n")
                assert entry is not None
                storage.values.put("n", b"%d" % (int(entry.value) + 1), expected=entry.version)
                acknowledged += 1
            except OutcomeUnknown:
                unknown += 1
            except Unavailable:
                pass
    finally:
        stop.set()
        thread.join()
    entry = patiently(lambda: storage.values.get("n"))
    assert entry is not None and acknowledged > 0
    assert acknowledged <= int(entry.value) <= acknowledged + unknown
