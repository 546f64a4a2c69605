"""Servers that die, freeze, fill up or refuse; connections that are cut."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pymysql
import pytest
from statekeep import OutcomeUnknown, PoolTimeout, Put, Storage, Transaction, Unavailable
from statekeep.errors import StorageError, VersionConflict

from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.mysql.test_access import raw
from tests.redis.loads import Load
from tests.servers.mysql import FAST, SAFE, MysqlProcess, eventually, grow, tmpfs
from tests.servers.proxy import Proxy

FEW = {"maximum_pool_size": 6, "connection_timeout": 3000, "connect_timeout": 1000}


@pytest.fixture
def proxy(server: MysqlProcess) -> Iterator[Proxy]:
    """A way to the server that can be cut."""
    with Proxy(server.address) as proxy:
        yield proxy


@pytest.fixture
def victim() -> Iterator[MysqlProcess]:
    """A server of this test's own, which keeps what it acknowledges."""
    with MysqlProcess(SAFE) as process:
        yield process


def through(proxy: Proxy, **options: Any) -> dict[str, Any]:
    """Options that lead through the proxy, without TLS: so that an answer is a piece."""
    return {**APP, "host": "127.0.0.1", "port": proxy.port, "ssl_mode": "disabled", **options}


def sessions(server: MysqlProcess) -> list[int]:
    """The connections of the user `app`."""
    return [row[0] for row in server.sql("SELECT ID FROM information_schema.PROCESSLIST "
                                         "WHERE USER = 'app'")]  # fmt: skip


@pytest.mark.slow
def test_kill_9_under_load_loses_nothing_acknowledged(opened: Open, victim: MysqlProcess) -> None:
    """innodb_flush_log_at_trx_commit = 1: three times killed and started again."""
    storage = opened(victim, **FEW)
    with Load(storage) as load:
        for _ in range(3):
            load.progress(60)
            victim.kill()
            victim.start()
        load.progress(30)
    load.verify()


@pytest.mark.slow
def test_killed_connections_under_load_lose_nothing(opened: Open, victim: MysqlProcess) -> None:
    """KILL of every connection and every statement, over and over."""
    storage = opened(victim, **FEW)
    with Load(storage, writers=4) as load:
        for round in range(15):
            load.progress(10)
            for number in sessions(victim):
                try:
                    victim.sql(f"KILL {'HARD CONNECTION' if round % 3 else 'QUERY'} {number}")
                except Exception:  # gone already
                    continue
        load.progress(10)
    load.verify()


@pytest.mark.slow
def test_connections_cut_under_load_lose_nothing(
    opened: Open, server: MysqlProcess, proxy: Proxy, database: str
) -> None:
    """By the network, at any point of a statement."""
    storage = opened(**through(proxy, database=database, **FEW))
    with Load(storage, writers=4) as load:
        for _ in range(15):
            load.progress(10)
            proxy.cut()
        for _ in range(5):
            load.progress(5)
            proxy.cut_answers = True
            time.sleep(0.05)
            proxy.cut_answers = False
        load.progress(10)
    load.verify()
    assert load.unknown or load.uncounted


@pytest.mark.parametrize("several", [False, True])
def test_an_answer_cut_off_is_outcome_unknown(
    opened: Open, proxy: Proxy, prefix: str, several: bool
) -> None:
    """The write was sent: it may have been applied, and here it was. A read is tried again."""
    storage = opened(**through(proxy))
    version = storage.values.put(prefix + "key", b"1")
    proxy.cut_answers = True
    with pytest.raises(OutcomeUnknown):
        if several:
            storage.values.put_many({prefix + "key": b"2", prefix + "other": b"2"})
        else:
            storage.values.put(prefix + "key", b"2", expected=version)
    proxy.cut_answers = False
    storage.ping()
    proxy.cut_answers = True
    with pytest.raises(OutcomeUnknown):
        storage.deferred.claim(prefix + "queue")
    with pytest.raises(Unavailable):
        storage.values.get(prefix + "key")
    proxy.cut_answers = False
    eventually(lambda: storage.values.get(prefix + "key").value == b"2", "the write")  # type: ignore[union-attr]


def test_a_connection_cut_while_idle_is_replaced(opened: Open, proxy: Proxy, prefix: str) -> None:
    """Nobody is told."""
    storage = opened(**through(proxy))
    for pause in (0.0, 0.05, 0.6):
        storage.values.put(prefix + "key", b"1")
        proxy.cut()
        time.sleep(pause)
        assert storage.values.get(prefix + "key") is not None
        proxy.cut()
        time.sleep(0.05)  # sooner, a write may be sent before the end of the stream is seen


def test_a_connection_that_the_server_timed_out_is_replaced(
    opened: Open, server: MysqlProcess, prefix: str
) -> None:
    """Whatever the server's wait_timeout is, the session's is its own; KILL is as a time-out."""
    storage = opened(server)
    backend = raw(storage)
    ((wait,),) = backend._database.query("SELECT @@wait_timeout")
    assert wait == 1860
    for number in sessions(server):
        server.sql(f"KILL {number}")
    time.sleep(0.05)
    storage.values.put(prefix + "key", b"1")


@pytest.mark.parametrize("write", [False, True])
def test_a_frozen_server_is_noticed_in_time(opened: Open, write: bool) -> None:
    """SIGSTOP: a read is Unavailable, a write unknown, a new connection bounded; then it thaws."""
    with MysqlProcess() as victim:
        storage = opened(
            victim, statement_timeout=300, lock_timeout=300, connect_timeout=500,
            connection_timeout=1000,
        )  # fmt: skip
        raw(storage)._database._dialer._read_timeout = 1.0
        raw(storage)._database.pool.drop_idle()
        storage.values.put("key", b"1")
        victim.freeze()
        try:
            begun = time.monotonic()
            with pytest.raises(OutcomeUnknown if write else Unavailable):
                storage.values.put("key", b"2") if write else storage.values.get("key")
            with pytest.raises(Unavailable):
                storage.ping()
            assert time.monotonic() - begun < 8
        finally:
            victim.thaw()
        eventually(lambda: storage.values.get("key"), "the thawed server")
        storage.values.put("key", b"3")


def test_a_handshake_that_never_comes_is_bounded(opened: Open, proxy: Proxy) -> None:
    """PyMySQL's connect_timeout alone would not."""
    proxy.blackhole = True
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="cannot connect"):
        opened(**through(proxy, connect_timeout=400, connection_timeout=1000))
    assert time.monotonic() - begun < 5


def test_too_many_connections_say_so(opened: Open) -> None:
    """1040 names max_connections, and the storage works again when there is room."""
    with MysqlProcess({**FAST, "max_connections": "10"}) as victim:
        opened(victim).close()
        victim.sql("CREATE USER 'few'@'%' IDENTIFIED BY 'x'")
        victim.sql("GRANT SELECT, INSERT, UPDATE, DELETE ON infinitic.* TO 'few'@'%'")
        few = {"username": "few", "password": "x", "maximum_pool_size": 3}
        with ExitStack() as stack:
            for _ in range(9):
                stack.enter_context(_plain(victim))
            storage = opened(victim, **few)
            with (
                raw(storage)._database.connection(),
                pytest.raises(Unavailable, match=r"1040.*max_connections"),
            ):
                storage.ping()
            storage.ping()
        with raw(storage)._database.connection():
            eventually(lambda: _pings(storage), "a free connection")


def _plain(server: MysqlProcess) -> Any:
    return pymysql.connect(host="127.0.0.1", port=server.port, user="few", password="x")


def _pings(storage: Storage) -> bool:
    try:
        storage.ping()
    except StorageError:
        return False
    return True


def test_a_pool_that_is_empty_says_for_how_long(
    opened: Open, server: MysqlProcess, prefix: str
) -> None:
    """PoolTimeout, which is Unavailable: nothing was sent."""
    storage = opened(server, maximum_pool_size=1, connection_timeout=200)
    with (
        raw(storage)._database.connection(),
        pytest.raises(PoolTimeout, match="maximum_pool_size"),
    ):
        storage.values.put(prefix + "key", b"1")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_recovers(opened: Open) -> None:
    """Writes fail, and never succeed halfway; what was there stays; with room it goes on."""
    with tmpfs("190m") as folder, MysqlProcess(SAFE, data=folder) as victim:
        storage = opened(victim, statement_timeout=20_000)
        written: dict[str, int] = {}
        unknown: set[str] = set()
        for number in range(400):
            key = f"key/{number:05}"
            try:
                written[key] = storage.values.put(key, os.urandom(1_000_000))
            except OutcomeUnknown:
                unknown.add(key)
                break
            except Unavailable:
                break
        assert len(written) < 400, "the disk never filled up"
        time.sleep(2)
        grow(folder, "400m")
        if not victim.running():  # InnoDB ends the server when it cannot write
            victim.start()
        eventually(lambda: _writes(storage), "room again")
        found = {key: entry.version for key, entry in storage.values.scan("key/")}
        assert written.items() <= found.items() and set(found) <= set(written) | unknown


def _writes(storage: Storage) -> bool:
    try:
        storage.values.put("again", b"x")
    except StorageError:
        return False
    return True


def test_a_lock_that_others_hold_is_waited_for_and_given_up(
    opened: Open, server: MysqlProcess, prefix: str
) -> None:
    """1205, tried five times, then Unavailable: nothing was applied, also of the other keys."""
    storage = opened(server, lock_timeout=1000, maximum_pool_size=2)
    storage.values.put(prefix + "b", b"1")
    holder = server.client("infinitic")
    try:
        holder.autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM key_value_storage WHERE `key` = %s FOR UPDATE", (prefix + "b",)
            )
        with pytest.raises(Unavailable, match=r"1205.*nothing was applied"):
            storage.values.put_many({prefix + "a": b"2", prefix + "b": b"2"})
        threading.Timer(0.3, holder.rollback).start()
        storage.values.put_many({prefix + "c": b"2", prefix + "b": b"3"})
    finally:
        time.sleep(0.5)
        holder.close()
    assert storage.values.get(prefix + "a") is None
    entry = storage.values.get(prefix + "b")
    assert entry is not None and entry.value == b"3"


def test_deadlocks_with_others_are_tried_again(
    opened: Open, server: MysqlProcess, prefix: str
) -> None:
    """Another program locks the same rows in the other order, for as long as it can."""
    storage = opened(server)
    keys = [f"{prefix}{number}" for number in range(6)]
    storage.values.put_many(dict.fromkeys(keys, b"0"))
    stop = threading.Event()

    def disturb() -> None:
        with server.client("infinitic") as client, client.cursor() as cursor:
            while not stop.is_set():
                try:
                    cursor.execute("BEGIN")
                    for key in reversed(keys):
                        cursor.execute(
                            "UPDATE key_value_storage SET expires = expires WHERE `key` = %s",
                            (key,),
                        )
                        cursor.execute(
                            "SELECT 1 FROM key_value_storage WHERE `key` = %s FOR UPDATE", (key,)
                        )
                        time.sleep(0.0005)
                    cursor.execute("COMMIT")
                    time.sleep(0.002)
                except pymysql.err.OperationalError:
                    cursor.execute("ROLLBACK")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        before = _deadlocks(server)
        for number in range(60):
            storage.values.put_many(dict.fromkeys(keys, b"%d" % number))
    finally:
        stop.set()
        thread.join()
    entries = storage.values.get_many(keys)
    assert {entry.value for entry in entries.values()} == {b"59"}
    assert _deadlocks(server) > before, "there was no deadlock to try again"


def _deadlocks(server: MysqlProcess) -> int:
    ((_, count),) = server.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    return int(count)


def test_a_refused_transaction_does_not_take_others_with_it(
    opened: Open, server: MysqlProcess, prefix: str
) -> None:
    """In one commit: a value that the server cannot take, and one that it can."""
    from statekeep import Committed, Failed, InvalidArgument

    backend = raw(opened(server))
    large = b"x" * (backend.capabilities.max_value_bytes + 1)
    outcomes = backend.commit(
        [Transaction((Put(prefix + "a", b"1"),)), Transaction((Put(prefix + "b", large),)),
         Transaction((Put(prefix + "c", b"1"),))]
    )  # fmt: skip
    assert [type(each) for each in outcomes] == [Committed, Failed, Committed]
    assert isinstance(outcomes[1].error, InvalidArgument)
    assert "max_allowed_packet" in str(outcomes[1].error)
    assert set(backend.get_many([prefix + "a", prefix + "b", prefix + "c"])) == {
        prefix + "a", prefix + "c",
    }  # fmt: skip


def test_a_lease_that_ended_while_the_answer_was_late_is_lost(
    opened: Open, proxy: Proxy, prefix: str
) -> None:
    """A slow network does not make two holders."""
    storage = opened(**through(proxy))
    storage.deferred.schedule(prefix + "q", "id", due=timedelta(seconds=-1))
    proxy.delay = 0.2
    (first,) = storage.deferred.claim(prefix + "q", lease=timedelta(milliseconds=50))
    proxy.delay = 0.0
    (second,) = storage.deferred.claim(prefix + "q", lease=timedelta(minutes=1))
    with pytest.raises(StorageError, match="lease"):
        storage.deferred.acknowledge(first)
    storage.deferred.acknowledge(second)


def test_claims_pass_over_what_others_hold(opened: Open, server: MysqlProcess, prefix: str) -> None:
    """Locked by whatever index: a claim never waits for it."""
    storage = opened(server)
    queue = prefix + "queue"
    for number in range(3):
        storage.deferred.schedule(queue, f"{number}", due=timedelta(seconds=number - 10))
    holder = server.client("infinitic")
    try:
        holder.autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM deferred_message_storage WHERE queue=%s AND id='0' FOR UPDATE",
                (queue,),
            )
            cursor.execute(
                "UPDATE deferred_message_storage SET payload='x' WHERE queue=%s AND id='1'",
                (queue,),
            )
            begun = time.monotonic()
            assert [message.id for message in storage.deferred.claim(queue, limit=3)] == ["2"]
            assert time.monotonic() - begun < 1
    finally:
        holder.close()


def test_transactions_that_cross_hardly_deadlock(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """Twelve threads on eight keys: all lock in one order, and none is given up."""
    storage = opened(server, database=database, maximum_pool_size=12)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        source = random.Random(number)
        for _ in range(60):
            try:
                with storage.transaction() as tx:
                    for key in source.sample([f"key/{n}" for n in range(8)], 3):
                        choice = source.random()
                        if choice < 0.5:
                            tx.put(key, b"x")
                        elif choice < 0.7:
                            tx.delete(key)
                        else:
                            tx.put(key, b"y", expected=0)
                    tx.add(f"set/{source.randrange(3)}", b"%d" % source.randrange(5))
                    tx.remove(f"set/{source.randrange(3)}", b"%d" % source.randrange(5))
                    tx.schedule("q", f"{source.randrange(5)}", due=timedelta(0))
                    tx.cancel("q", f"{source.randrange(5, 9)}")
                storage.deferred.claim("q", limit=3)
            except VersionConflict:
                continue
            except BaseException as error:
                errors.append(error)

    before = _deadlocks(server)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert _deadlocks(server) - before < 12 * 60 / 40  # five at most were seen
    left = server.sql(f"SELECT COUNT(*) FROM `{database}`.key_value_storage WHERE version <= 0")
    assert left == [(0,)]
