"""Three nodes that all take writes: conflicts, a node that dies, a minority, what others wrote."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from statekeep import LeaseLost, OutcomeUnknown, Storage, Unavailable, VersionConflict

from tests.mysql.conftest import Open
from tests.operations.pages import settings, toml
from tests.redis.loads import Load
from tests.servers.galera import GaleraCluster
from tests.servers.mysql import MysqlProcess, eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("galera")]
PAGE = "high-availability"
FEW = {"maximum_pool_size": 5, "connect_timeout": 2000, "connection_timeout": 8000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[GaleraCluster]:
    """A cluster for tests that leave it whole."""
    with GaleraCluster() as cluster:
        yield cluster


def together(*functions: object) -> None:
    """Runs functions at once; the first error of one of them."""
    errors: list[BaseException] = []

    def body(function: object) -> None:
        try:
            function()  # type: ignore[operator]  # all are called without arguments
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(each,)) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


def patiently(function, *arguments, **options):  # type: ignore[no-untyped-def]  # any call
    """The answer to a call that may be pushed aside again and again: nothing was applied then."""
    for _ in range(200):
        try:
            return function(*arguments, **options)
        except Unavailable:
            time.sleep(0.01)
    return function(*arguments, **options)


def test_writers_on_several_nodes_lose_no_update(
    opened: Open, cluster: GaleraCluster, prefix: str
) -> None:
    """Counters incremented on all nodes at once, by condition and by units of two keys."""
    storages = [opened(node, **FEW) for node in cluster.nodes]
    a, b = prefix + "a", prefix + "b"
    storages[0].values.put_many({a: b"0", b: b"0"})
    done = [0] * len(storages)

    def count(number: int) -> None:
        storage = storages[number]
        while done[number] < 40:
            found = patiently(storage.values.get_many, [a, b])
            assert found[a].value == found[b].value, "half of a transaction was seen"
            value = b"%d" % (int(found[a].value) + 1)
            try:
                with storage.transaction() as tx:
                    tx.put(a, value, expected=found[a].version)
                    tx.put(b, value, expected=found[b].version)
                    tx.add(prefix + "set", b"%d-%d" % (number, done[number]))
            except (VersionConflict, Unavailable):
                continue
            done[number] += 1

    together(*(lambda n=n: count(n) for n in range(3)))
    for storage in storages:
        entry = storage.values.get(a)
        assert entry is not None and int(entry.value) == sum(done) == 120
        assert len(storage.sets.members(prefix + "set")) == 120


def test_a_key_is_created_once(opened: Open, cluster: GaleraCluster, prefix: str) -> None:
    """expected=0 on two nodes at the same moment: one of them wins."""
    storages = [opened(node, **FEW) for node in cluster.nodes[:2]]
    for number in range(40):
        won: list[int] = []
        barrier = threading.Barrier(2)

        def create(
            which: int, key: str = f"{prefix}{number}", won: list[int] = won,
            barrier: threading.Barrier = barrier,
        ) -> None:  # fmt: skip
            barrier.wait()
            try:
                patiently(storages[which].values.put, key, b"%d" % which, expected=0)
            except VersionConflict:
                return
            won.append(which)

        together(lambda c=create: c(0), lambda c=create: c(1))
        entry = storages[0].values.get(f"{prefix}{number}")
        assert entry is not None and won == [int(entry.value)]


def test_what_one_node_acknowledged_the_others_see(
    opened: Open, cluster: GaleraCluster, prefix: str
) -> None:
    """At once: each connection sets wsrep_sync_wait."""
    storages = [opened(node, **FEW) for node in cluster.nodes]
    version = 0
    for number in range(150):
        writer, reader = storages[number % 3], storages[(number + 1) % 3]
        version = patiently(writer.values.put, prefix + "key", b"%d" % number, expected=version)
        entry = reader.values.get(prefix + "key")
        assert entry is not None and entry.version == version


def test_a_message_has_one_holder(opened: Open, cluster: GaleraCluster, prefix: str) -> None:
    """Claimed on all nodes at once, each is acknowledged once."""
    storages = [opened(node, **FEW) for node in cluster.nodes]
    queue = prefix + "queue"
    with storages[0].transaction() as tx:
        for number in range(60):
            tx.schedule(queue, f"{number}", due=timedelta(seconds=-1))
    acknowledged: list[str] = []

    def work(storage: Storage) -> None:
        while messages := patiently(storage.deferred.claim, queue, limit=5):
            for message in messages:
                try:
                    patiently(storage.deferred.acknowledge, message)
                except LeaseLost:
                    continue
                acknowledged.append(message.id)

    together(*(lambda s=s: work(s) for s in storages))
    assert sorted(acknowledged) == sorted(f"{number}" for number in range(60))


def test_a_node_killed_under_load_loses_nothing(opened: Open) -> None:
    """Writers go on at another node; what was acknowledged is on those that remain.

    Nodes and storage are configured as docs/high-availability.md has it.
    """
    with GaleraCluster(options=settings(PAGE, "galera")) as cluster:
        ours = {"db-1.internal,db-2.internal,db-3.internal": cluster.hosts}
        storage = opened(**toml(PAGE, "galera-app", ours)["storage"]["mysql"])
        with Load(storage) as load:
            load.progress(60)
            used = next(node for node in cluster.nodes if _used(node))
            used.kill()
            load.progress(60, 60)
        load.verify()
        remaining = [node for node in cluster.nodes if node is not used]
        eventually(lambda: all(cluster.size(node) == 2 for node in remaining), "two nodes")
        for node in remaining:
            counted = node.sql("SELECT COUNT(*) FROM infinitic.key_set_storage")[0][0]
            assert counted >= len(load.acknowledged)
        last = opened(remaining[1], **FEW)
        last.ping()
        remaining[0].kill()
        eventually(lambda: _is_minority(cluster, remaining[1]), "a minority", 30)
        for each in (last, storage):
            for _ in range(3):
                with pytest.raises((Unavailable, OutcomeUnknown)):
                    each.values.put("minority", b"x")
        with pytest.raises(Unavailable, match="not in sync|1047"):
            opened(remaining[1], **FEW)


def _used(node: MysqlProcess) -> bool:
    rows = node.sql("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'app'")
    return bool(rows[0][0])


def _is_minority(cluster: GaleraCluster, node: MysqlProcess) -> bool:
    status = dict(node.sql("SHOW GLOBAL STATUS LIKE 'wsrep_cluster_status'"))
    return status["wsrep_cluster_status"] != "Primary"
