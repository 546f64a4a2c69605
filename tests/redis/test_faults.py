"""What breaks: each fault has the error that says what happened, and afterwards all works."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from statekeep import (
    Committed,
    CorruptValue,
    Failed,
    OutcomeUnknown,
    PoolTimeout,
    Put,
    RecordKind,
    Storage,
    Transaction,
    Unavailable,
    VersionConflict,
)
from statekeep.errors import StorageError

from tests.redis.conftest import Open
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisProcess, eventually

FAST = 400
"""A timeout in milliseconds, for tests that wait it out."""


@pytest.fixture
def own() -> Iterator[RedisProcess]:
    """A server that a test may break."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def proxy(server: RedisProcess) -> Iterator[Proxy]:
    with Proxy(server.address) as proxy:
        yield proxy


def through(opened: Open, proxy: Proxy, prefix: str, **options: object) -> Storage:
    """A storage behind the proxy."""
    return opened(host="127.0.0.1", port=proxy.port, prefix=prefix, **options)


def recovered(storage: Storage, key: str = "key") -> int:
    """Writes until it works."""

    def write() -> int:
        try:
            return storage.values.put(key, b"after")
        except StorageError:
            return 0

    return eventually(write, "recovery")


def test_a_frozen_server(own: RedisProcess, opened: Open) -> None:
    """SIGSTOP: within the timeout, a write is unknown and a read unavailable; then it recovers."""
    storage = opened(own, timeout=FAST)
    version = storage.values.put("key", b"before")
    own.freeze()
    try:
        started = time.monotonic()
        with pytest.raises(OutcomeUnknown, match="read the versions again"):
            storage.values.put("key", b"lost?", expected=version)
        with pytest.raises(Unavailable):
            storage.values.get("key")
        with pytest.raises(Unavailable):  # a new connection: not even greeted
            storage.values.put("key", b"never", expected=version)
        assert time.monotonic() - started < 3 * FAST / 1000 + 5  # others use this machine too
    finally:
        own.thaw()
    entry = eventually(lambda: _get(storage), "recovery")
    assert entry.value in (b"before", b"lost?")
    assert storage.values.put("key", b"after", expected=entry.version) == entry.version + 1


def _get(storage: Storage):  # type: ignore[no-untyped-def]  # an entry, once it answers
    try:
        return storage.values.get("key")
    except Unavailable:
        return None


def test_an_answer_that_is_cut_off(
    server: RedisProcess, opened: Open, proxy: Proxy, prefix: str
) -> None:
    """The request arrived, the answer did not: a write is unknown, and not sent again."""
    storage = through(opened, proxy, prefix)
    version = storage.values.put("key", b"0")
    proxy.cut_answers = True
    with pytest.raises(OutcomeUnknown):
        storage.values.put("key", b"1", expected=version)
    proxy.cut_answers = False
    assert storage.deferred.claim("queue") == []
    proxy.cut_answers = True
    with pytest.raises(OutcomeUnknown):
        storage.deferred.claim("queue")
    proxy.cut_answers = False
    entry = storage.values.get("key")
    assert entry is not None and (entry.value, entry.version) == (b"1", version + 1)
    with pytest.raises(VersionConflict):
        storage.values.put("key", b"1", expected=version)


def test_a_counter_behind_a_connection_that_keeps_breaking(
    opened: Open, proxy: Proxy, prefix: str
) -> None:
    """Conditional writes through cuts at any moment: acknowledged ones count once, none twice."""
    storage = through(opened, proxy, prefix, timeout=2000)
    storage.values.put("n", b"0")
    stop = threading.Event()

    def cutter() -> None:
        while not stop.wait(0.01):
            proxy.cut()

    thread = threading.Thread(target=cutter)
    thread.start()
    acknowledged = unknown = 0
    try:
        end = time.monotonic() + 2
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
    entry = storage.values.get("n")
    assert entry is not None and acknowledged > 0
    assert acknowledged <= int(entry.value) <= acknowledged + unknown


def test_connections_that_the_server_closed(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """Idle connections killed at the server: the next write finds out before it is sent."""
    storage = opened(server, prefix=prefix)
    for number in range(5):
        storage.values.put("key", b"%d" % number)
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.01)
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"4"


def test_idle_connections_that_the_network_forgot(opened: Open, proxy: Proxy, prefix: str) -> None:
    """A firewall drops what is idle, without a word: a trial before use finds out."""
    storage = through(opened, proxy, prefix, idle_check=0.0, timeout=2000)
    storage.values.put("key", b"1")
    proxy.drop_silently()
    storage.values.put("key", b"2")
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"2"


def test_a_network_that_swallows_everything(opened: Open, proxy: Proxy, prefix: str) -> None:
    """No answer at all: within the timeout, and not ten times it."""
    storage = through(opened, proxy, prefix, timeout=FAST)
    storage.values.put("key", b"1")
    proxy.blackhole = True
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        storage.values.put("key", b"2")
    with pytest.raises(Unavailable):
        storage.values.get("key")
    assert time.monotonic() - started < 2 * FAST / 1000 + 5
    proxy.blackhole = False
    proxy.cut()
    assert recovered(storage)


def test_a_server_that_is_gone(own: RedisProcess, opened: Open) -> None:
    """Killed: Unavailable, until it runs again; the script is loaded anew by itself."""
    storage = opened(own)
    storage.values.put("key", b"")
    own.kill()
    for _ in range(2):
        with pytest.raises(Unavailable):
            storage.values.put("key", b"")
    with pytest.raises(Unavailable, match=r"Connection refused.*check host and port"):
        storage.ping()
    own.start()
    assert recovered(storage)


def test_every_acknowledged_transaction_survives_kill(opened: Open) -> None:
    """`appendfsync always` and kill -9 during load, three times: all of each, or nothing."""
    options = {"appendonly": "yes", "appendfsync": "always"}
    with RedisProcess(options) as server:
        storage, acknowledged, number = opened(server), 0, 0
        for _ in range(3):
            timer = threading.Timer(0.4, server.kill)
            timer.start()
            while True:
                try:
                    with storage.transaction() as tx:
                        tx.put(f"v{number}", b"x" * 500, expected=0)
                        tx.add("set", b"%d" % number)
                        tx.schedule("queue", f"{number}", due=timedelta(hours=1))
                except OutcomeUnknown:
                    number += 1
                    break
                except Unavailable:
                    break
                number += 1
                acknowledged += 1
            timer.join()
            server.start()
            eventually(lambda: _answers(storage), "the server's return")
            values = {int(key[1:]) for key, _ in storage.values.scan("v")}
            members = {int(member) for member in storage.sets.members("set")}
            messages = {int(message.id) for message in storage.deferred.scan("queue")}
            assert values == members == messages
            assert acknowledged <= len(values) <= number
        assert acknowledged > 10


def _answers(storage: Storage) -> bool:
    try:
        storage.ping()
    except Unavailable:
        return False
    return True


def test_memory_that_is_full(opened: Open) -> None:
    """A clear error, nothing half applied; reads and deletions go on, and make room again."""
    with RedisProcess({"maxmemory": "6mb", "maxmemory-policy": "noeviction"}) as server:
        storage = opened(server)
        storage.deferred.schedule("queue", "held", due=timedelta(0))
        (held,) = storage.deferred.claim("queue", lease=timedelta(hours=1))
        version = storage.values.put("first", b"first")
        number = 0
        with pytest.raises(Unavailable, match="maxmemory"):
            for number in range(1000):
                with storage.transaction() as tx:
                    tx.add("set", b"%d" % number)
                    tx.put(f"v{number}", b"x" * 100_000, expected=0)
                    tx.schedule("timers", f"{number}", due=timedelta(hours=1))
        assert storage.sets.members("set") == {b"%d" % n for n in range(number)}
        assert len(list(storage.deferred.scan("timers"))) == number
        assert storage.values.get(f"v{number}") is None
        outcomes = storage.backend.commit(
            [Transaction((Put("first", b"x" * 100_000, version),)), Transaction(())]
        )
        assert isinstance(outcomes[0], Failed) and isinstance(outcomes[0].error, Unavailable)
        assert isinstance(outcomes[1], Committed)
        storage.deferred.acknowledge(held)
        assert storage.sets.contains("set", b"0")
        for done in range(number):
            storage.values.delete(f"v{done}")
        assert recovered(storage) and server.command("DBSIZE") > 0


@pytest.mark.parametrize("wrong", ["v:key", "s:key", "Q:{:key}", "H:{:key}", "i", "f", "x"])
def test_a_key_of_the_wrong_type(
    server: RedisProcess, opened: Open, prefix: str, wrong: str
) -> None:
    """Another program's key where one of ours should be: a clear error, nothing applied."""
    storage = opened(server, prefix=prefix)
    server.command("RPUSH", prefix + wrong, "not ours")
    with pytest.raises(CorruptValue, match="another program"), storage.transaction() as tx:
        tx.put("other", b"")
        tx.add("other", b"m")
        tx.put("key", b"", ttl=timedelta(hours=1))
        tx.add("key", b"m")
        tx.schedule("key", "id", due=timedelta(0))
    left = set(server.command("KEYS", prefix + "*"))
    assert left == {(prefix + wrong).encode()}
    if wrong == "v:key":
        with pytest.raises(CorruptValue):
            storage.values.get("key")
    if wrong == "s:key":
        with pytest.raises(CorruptValue):
            storage.sets.members("key")


def test_a_value_that_is_not_ours(server: RedisProcess, opened: Open, prefix: str) -> None:
    """A text that another program wrote is never returned as if it were a value."""
    storage = opened(server, prefix=prefix)
    for text in ("short", "long enough to hold a header, but it is none"):
        server.command("SET", prefix + "v:key", text)
        with pytest.raises(CorruptValue):
            storage.values.get("key")
    server.command("SET", prefix + "v:key", "short")
    with pytest.raises(CorruptValue):
        storage.values.put("key", b"")


def test_scripts_that_the_server_forgot(server: RedisProcess, opened: Open, prefix: str) -> None:
    """After SCRIPT FLUSH each kind of call loads its script again, in the order of the calls."""
    storage = opened(server, prefix=prefix)
    storage.deferred.schedule("queue", "id", due=timedelta(0))
    for number in range(3):
        server.command("SCRIPT", "FLUSH")
        puts = [Transaction((Put("key", b"%d" % n),)) for n in range(20)]
        outcomes = storage.backend.commit(puts)
        assert all(isinstance(outcome, Committed) for outcome in outcomes)
        server.command("SCRIPT", "FLUSH")
        assert storage.values.put("single", b"%d" % number)
        server.command("SCRIPT", "FLUSH")
        assert len(storage.deferred.claim("queue", lease=timedelta(microseconds=1))) == 1
        server.command("SCRIPT", "FLUSH")
        storage.sets.members_many(["a", "b"])
        assert storage.purge() == 0
        entry = storage.values.get("key")
        assert entry is not None and entry.value == b"19"


def test_a_server_that_is_busy(opened: Open) -> None:
    """A script that never ends stands for all that a server refuses for a while: Unavailable."""
    with RedisProcess({"busy-reply-threshold": "50"}) as server:
        storage = opened(server, timeout=3000)
        storage.values.put("key", b"before")
        client = server.client(socket_timeout=10)
        busy = threading.Thread(target=lambda: _run_for_ever(client))
        busy.start()
        try:
            error = eventually(lambda: _refused(storage), "BUSY")
            assert isinstance(error, Unavailable) and "BUSY" in str(error)
        finally:
            server.command("SCRIPT", "KILL")
            busy.join()
            client.close()
        assert recovered(storage)


def _run_for_ever(client) -> None:  # type: ignore[no-untyped-def]
    try:
        client.eval("while true do end", 0)
    except Exception:  # it is killed: that is its end
        return


def _refused(storage: Storage) -> StorageError | None:
    try:
        storage.values.get("key")
    except StorageError as error:
        return error
    return None


def test_a_pool_with_a_bound(opened: Open, proxy: Proxy, prefix: str) -> None:
    """More callers than connections wait their turn, and give up within the timeout."""
    storage = through(opened, proxy, prefix, timeout=1000, max_total=2)
    storage.values.put("key", b"")
    proxy.delay = 0.5
    errors: list[StorageError] = []

    def get() -> None:
        try:
            storage.values.get("key")
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=get) for _ in range(9)]
    for thread in threads:
        thread.start()
    eventually(lambda: storage_pool(storage).waiting > 0, "a queue for connections")
    assert storage_pool(storage).in_use <= 2
    for thread in threads:
        thread.join()
    assert errors and all(isinstance(error, PoolTimeout) for error in errors)
    assert "max_total" in str(errors[0])
    proxy.delay = 0.0
    assert storage_pool(storage).waiting == storage_pool(storage).in_use == 0


def storage_pool(storage: Storage):  # type: ignore[no-untyped-def]
    """The pool's numbers without asking the server."""
    return storage.usage().pool


def test_a_pool_keeps_as_many_idle_as_it_should(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """At most max_idle stay open, at least min_idle are; stats() tells."""
    storage = opened(server, prefix=prefix, max_idle=3, min_idle=2)
    assert storage_pool(storage).idle == 2
    gate = threading.Barrier(8)

    def work() -> None:
        gate.wait()
        for _ in range(20):
            storage.values.put("key", b"x" * 50_000)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 2 <= storage.stats().pool.idle <= 3
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    storage.values.put("key", b"")
    eventually(lambda: storage_pool(storage).idle >= 2, "the minimum again")


def test_a_large_batch_with_one_bad_transaction(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """A refusal of one transaction of a pipeline is its own."""
    storage = opened(server, prefix=prefix)
    server.command("RPUSH", prefix + "v:bad", "x")
    outcomes = storage.backend.commit([Transaction((Put(key, b""),)) for key in ("a", "bad", "b")])
    assert [type(outcome) for outcome in outcomes] == [Committed, Failed, Committed]
    assert isinstance(outcomes[1], Failed) and isinstance(outcomes[1].error, CorruptValue)
    found = storage.backend.scan(RecordKind.KEY_VALUE, prefix="", limit=10, cursor=None)
    assert len(found.items) == 2
