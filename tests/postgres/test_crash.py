"""The server dies while several processes write: what it acknowledged is there, once and whole."""

from __future__ import annotations

import os
import signal
import time

import pytest
from statekeep import OutcomeUnknown, Unavailable
from statekeep.pool import PoolOptions

from tests.postgres.conftest import Open
from tests.postgres.loads import Load, patiently
from tests.servers.postgres import SAFE, PostgresProcess, eventually


def options(server: PostgresProcess, schema: str) -> dict[str, object]:
    return {"host": "127.0.0.1", "port": server.port, "schema": schema}


def kill(server: PostgresProcess) -> None:
    """kill -9 of all its processes."""
    server.kill()


def stop_at_once(server: PostgresProcess) -> None:
    """An immediate shutdown: no checkpoint, no goodbye."""
    server.stop(signal.SIGQUIT)


def stop_fast(server: PostgresProcess) -> None:
    """What a restart by an administrator does."""
    server.stop(signal.SIGINT)


def crash(own: PostgresProcess, opened: Open, schema: str, how: object, rounds: int) -> Load:
    """Ends the server again and again under load; compares; the load's record."""
    opened(own)
    with Load(options(own, schema)) as load:
        for _ in range(rounds):
            load.progress(15)
            how(own)  # type: ignore[operator]  # one of the three above
            time.sleep(0.1)
            own.start()
        load.progress(15)
    storage = opened(own)
    patiently(storage.ping)
    load.verify(storage)
    return load


@pytest.mark.parametrize("how", [kill, stop_at_once, stop_fast])
def test_a_server_that_ends_under_load(
    own: PostgresProcess, opened: Open, schema: str, how: object
) -> None:
    """Killed, stopped at once, restarted: nothing acknowledged is lost, nothing is there twice."""
    load = crash(own, opened, schema, how, rounds=2)
    assert load.record.problems["Unavailable"] > 0  # the end was noticed


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [kill, stop_at_once, stop_fast])
def test_a_server_that_ends_many_times(
    own: PostgresProcess, opened: Open, schema: str, how: object
) -> None:
    """The same thirty times; among so many, some writes are caught between sending and answer."""
    load = crash(own, opened, schema, how, rounds=30)
    assert load.record.problems["Unavailable"] > 0


def test_one_process_of_the_server_is_killed(
    own: PostgresProcess, opened: Open, schema: str
) -> None:
    """kill -9 of one backend: PostgreSQL restarts all of them, and the writers go on."""
    opened(own)
    with Load(options(own, schema)) as load:
        for _ in range(2):
            load.progress(15)
            busy = own.sql(
                "SELECT pid FROM pg_stat_activity "
                "WHERE application_name = 'statekeep' AND backend_type = 'client backend'"
            )
            os.kill(busy[0][0], signal.SIGKILL)
            eventually(lambda: own.sql("SELECT 1"), "the server's recovery")
        load.progress(15)
    storage = opened(own)
    patiently(storage.ping)
    load.verify(storage)


def test_a_server_that_is_gone(own: PostgresProcess, opened: Open) -> None:
    """While it does not run: Unavailable, which names the server; afterwards the storage works."""
    storage = opened(own, connection_timeout=2000)
    version = storage.values.put("key", b"before")
    own.kill()
    time.sleep(5 * PoolOptions().check_after)  # used less long ago, a connection is not checked
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            storage.values.put("key", b"never", expected=version)
        assert f"127.0.0.1:{own.port}" in str(caught.value)
        assert not isinstance(caught.value, OutcomeUnknown)
    with pytest.raises(Unavailable, match=r"nothing was applied.*Check host"):
        storage.values.get("key")
    own.start()
    assert storage.values.put("key", b"after", expected=version) == version + 1


def test_the_comparison_finds_what_is_lost(opened: Open, schema: str) -> None:
    """A server that acknowledges before it has written fails these tests, as it should."""
    unsafe = {**SAFE, "synchronous_commit": "off", "wal_writer_delay": "10s"}
    with PostgresProcess(unsafe) as server:
        opened(server)
        with Load(options(server, schema)) as load:
            load.progress(15)
            server.kill()
            server.start()
            load.progress(5)
        storage = opened(server)
        patiently(storage.ping)
        with pytest.raises(AssertionError):
            load.verify(storage)
