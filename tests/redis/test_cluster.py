"""A Cluster of six: what lies where, and nodes and slots that come and go under load.

Its config is that of docs/high-availability.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from statekeep import (
    AtomicScope,
    Committed,
    Conflict,
    Failed,
    Put,
    RecordKind,
    Schedule,
    Transaction,
    Unsupported,
)
from statekeep_redis.names import Names, slot

from tests.operations.pages import settings, toml
from tests.redis.conftest import Open
from tests.redis.loads import Load, put_many
from tests.servers.redis import RedisCluster, eventually

SLOTS_MOVED = 6

pytestmark = pytest.mark.xdist_group("redis-six-nodes")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    cluster = RedisCluster(options=settings("high-availability", "redis-cluster"))
    yield cluster
    cluster.close()


def test_keys_lie_all_over_and_are_read_together(
    cluster: RedisCluster, opened: Open, prefix: str
) -> None:
    """get_many and members_many fan out; commit answers each transaction in order."""
    storage = opened(nodes=cluster.addresses[:1], prefix=prefix)
    names = [f"key{number}" for number in range(300)]
    assert put_many(storage, names) == [None] * 300
    found = storage.values.get_many([*names, "absent"])
    assert {key: entry.value for key, entry in found.items()} == {k: k.encode() for k in names}
    for key in names[:50]:
        storage.sets.add(key, b"m", key.encode())
    members = storage.sets.members_many(names[:60])
    assert members == {
        key: ({b"m", key.encode()} if number < 50 else frozenset())
        for number, key in enumerate(names[:60])
    }
    nodes = [node.command("DBSIZE") for node in cluster.masters()]
    assert len(nodes) == 3 and min(nodes) > 30


@pytest.mark.parametrize("limit", [7, 100, 1000])
def test_scans_go_through_all_slots(
    cluster: RedisCluster, opened: Open, prefix: str, limit: int
) -> None:
    """Each record once, in pages of the size asked for."""
    storage = opened(nodes=cluster.addresses[:1], prefix=prefix)
    names = {f"key{number}" for number in range(150)}
    put_many(storage, sorted(names))
    for number in range(40):
        storage.deferred.schedule(f"queue{number % 5}", f"{number}", due=timedelta(0))
    seen: list[str] = []
    cursor = None
    while True:
        page = storage.backend.scan(RecordKind.KEY_VALUE, prefix="key", limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        seen += [record.key for record in page.items]  # type: ignore[union-attr]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 150 and set(seen) == names
    assert {m.id for m in storage.deferred.scan("queue3")} == {f"{n}" for n in range(3, 40, 5)}
    stats = storage.stats()
    assert stats.kinds[RecordKind.KEY_VALUE].records == 150
    assert stats.kinds[RecordKind.DEFERRED].records == 40


def test_a_transaction_across_slots_is_refused_before_it_is_sent(
    cluster: RedisCluster, opened: Open, prefix: str
) -> None:
    """Unsupported, with advice; its neighbours in a commit are not concerned."""
    storage = opened(nodes=cluster.addresses, prefix=prefix)
    assert storage.capabilities.atomic_scope is AtomicScope.HASH_SLOT
    assert not storage.capabilities.snapshot_reads
    with pytest.raises(Unsupported, match=r"\{hash tag\}|hash tag.*order/\{42\}"):
        storage.values.put_many({"a": b"", "b": b""})
    across = Transaction((Put("x", b""), Schedule("queue", "id", timedelta(0))))
    outcomes = storage.backend.commit(
        [Transaction((Put("a", b"1"),)), across, Transaction((Put("b", b"2", 5),))]
    )
    assert [type(outcome) for outcome in outcomes] == [Committed, Failed, Conflict]
    assert storage.values.get("x") is None and list(storage.deferred.scan("queue")) == []


def test_a_hash_tag_keeps_state_tag_and_timer_together(
    cluster: RedisCluster, opened: Open, prefix: str
) -> None:
    """The user's tag decides for values, sets and queues alike, with all operations."""
    storage = opened(nodes=cluster.addresses, prefix=prefix)
    storage.deferred.schedule("timers/{42}", "first", due=timedelta(0))
    (message,) = storage.deferred.claim("timers/{42}")
    with storage.transaction() as tx:
        tx.put("order/{42}", b"state", expected=0)
        tx.check("other/{42}", 0)
        tx.add("tag/{42}", b"order")
        tx.schedule("timers/{42}", "next", due=timedelta(0))
        tx.acknowledge(message)
    assert [m.id for m in storage.deferred.scan("timers/{42}")] == ["next"]


def test_a_prefix_with_a_tag_makes_everything_atomic(
    cluster: RedisCluster, opened: Open, prefix: str
) -> None:
    """One slot holds the app: transactions of any keys, snapshots, and all scopes."""
    storage = opened(nodes=cluster.addresses, prefix="{" + prefix + "}")
    assert storage.capabilities.atomic_scope is AtomicScope.EVERYTHING
    assert storage.capabilities.snapshot_reads
    storage.values.put_many({f"{number}": b"" for number in range(100)})
    assert len(list(storage.values.scan())) == 100
    with storage.transaction() as tx:
        tx.put("a", b"")
        tx.add("b", b"m")
        tx.schedule("c", "id", due=timedelta(0))
    assert len(storage.values.get_many([f"{number}" for number in range(100)])) == 100


def test_slots_that_move_under_load_lose_nothing(
    cluster: RedisCluster, opened: Open, prefix: str
) -> None:
    """MOVED, ASK and TRYAGAIN are followed; scans meanwhile see what stays."""
    storage = opened(nodes=cluster.addresses, prefix=prefix, timeout=10_000)
    stay = [f"stay{number}/{{{number % SLOTS_MOVED}}}" for number in range(60)]
    assert put_many(storage, stay) == [None] * 60
    names = Names(prefix.encode(), True)
    slots = sorted({slot(b"{%d}" % number) for number in range(SLOTS_MOVED)})
    stop = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                assert len(storage.values.get_many(stay)) == 60
                assert len(list(storage.values.scan("stay"))) == 60
                time.sleep(0.1)
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    # Few tags, so that the load is on the slots that move.
    with Load(storage, 2, tag=lambda number: f"{{{number % SLOTS_MOVED}}}{number}") as load:
        reader.start()
        try:
            load.progress(20)
            for number in slots:
                masters = cluster.masters()
                owner = cluster.owner(number)
                target = next(node for node in masters if node is not owner)
                cluster.move(number, target, pause=0.002)
            load.progress(20)
        finally:
            stop.set()
            reader.join()
    assert not errors, errors
    assert names.spread and not load.unknown
    load.verify()


def test_a_master_that_is_killed(cluster: RedisCluster, opened: Open, prefix: str) -> None:
    """Its replica takes over; the same storage works again, and what WAIT confirmed is there."""
    named = ", ".join(f'"{address}"' for address in cluster.addresses)
    ours = {'"redis-1.internal", "redis-2.internal", "redis-3.internal"': named}
    page = toml("high-availability", "redis-cluster-app", ours)["storage"]["redis"]
    storage = opened(**page, prefix=prefix)
    victim = cluster.owner(slot(b"{0}"))
    with Load(storage, tag=lambda number: f"{{{number % 9}}}{number}") as load:
        load.progress(30)
        victim.kill()
        eventually(lambda: cluster.owner(slot(b"{0}")) is not victim, "a new master")
        eventually(lambda: _writes(storage, "again/{0}"), "the storage's recovery")
        # One of the masters has no replica now: what lies there is written, and unconfirmed.
        time.sleep(0.2)
    victim.start()
    load.verify()
    eventually(lambda: len(cluster.masters()) == 3, "a whole Cluster")
    for node in cluster.nodes:
        eventually(lambda n=node: b"cluster_state:ok" in _info(n), "a Cluster that is ok")


def _info(node) -> bytes:  # type: ignore[no-untyped-def]
    told = node.command("CLUSTER INFO")
    return told if isinstance(told, bytes) else f"cluster_state:{told['cluster_state']}".encode()


def _writes(storage, key: str) -> bool:  # type: ignore[no-untyped-def]
    from statekeep import OutcomeUnknown, Unavailable

    try:
        storage.values.put(key, b"")
    except OutcomeUnknown as error:
        return "written, but only" in str(error)
    except Unavailable:
        return False
    return True
