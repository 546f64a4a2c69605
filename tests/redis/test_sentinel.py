"""Sentinels: the master by its name, failover under load, and what WAIT keeps.

Servers and storage are configured as docs/high-availability.md has it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from statekeep import OutcomeUnknown, Unavailable

from tests.operations.pages import settings, toml
from tests.redis.conftest import Open
from tests.redis.loads import Load
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisProcess, SentinelGroup, eventually

pytestmark = pytest.mark.xdist_group("redis-sentinel")


PAGE = "high-availability"
PASSWORD = "s3cret"
SECRET = {"redis-secret": PASSWORD}


def watching() -> list[str]:
    """The Sentinels' lines of the page, but for the password, which the group adds."""
    lines = settings(PAGE, "redis-sentinel", {"redis-1.internal 6379": "127.0.0.1 {port}"})
    return [line for line in lines["sentinel"] if not line.startswith("auth-pass")]


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    group = SentinelGroup(PASSWORD, settings(PAGE, "redis-server", SECRET), watching())
    yield group
    group.close()


def test_a_failover_under_load_loses_nothing_confirmed(group: SentinelGroup, opened: Open) -> None:
    """The master is killed while threads write: the same storage goes on with the next one.

    With the page's `wait_replicas = 1` every acknowledged transaction is there afterwards: the
    Sentinels promote the replica that is furthest.
    """
    ours = {
        **SECRET,
        '"sentinel-1.internal", "sentinel-2.internal", "sentinel-3.internal"': ", ".join(
            f'"{address}"' for address in group.addresses
        ),
    }
    storage = opened(**toml(PAGE, "redis-sentinel-app", ours)["storage"]["redis"])
    victim = group.master()
    with Load(storage) as load:
        load.progress(50)
        victim.kill()
        eventually(lambda: group.master() is not victim, "a failover")
        load.progress(50)
    victim.start()
    load.verify()
    assert group.master().port != victim.port


@pytest.mark.soak
def test_a_master_that_was_demoted(group: SentinelGroup, opened: Open) -> None:
    """A planned failover: the old master turns read-only, and the next write finds the new one."""
    storage = opened(sentinels=group.addresses, master_name=group.name, password="s3cret")
    storage.values.put("key", b"before")
    for sentinel in group.sentinels:
        eventually(lambda s=sentinel: _good_replicas(s, group.name) == 2, "two replicas")
    before = group.master()
    eventually(lambda: group.sentinels[0].command("SENTINEL", "FAILOVER", group.name), "its start")
    eventually(lambda: group.master() is not before, "the failover")

    def writes() -> bool:
        try:
            return storage.values.put("key", b"after") > 0
        except (Unavailable, OutcomeUnknown):
            return False

    eventually(writes, "the storage's recovery")
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"after"


def _good_replicas(sentinel: RedisProcess, name: str) -> int:
    with sentinel.client() as client:
        found = client.sentinel_slaves(name)
    return sum(
        1
        for each in found
        if not each["is_sdown"] and not each["is_odown"] and each["master-link-status"] == "ok"
    )


def test_a_sentinel_that_is_away_is_passed_over(group: SentinelGroup, opened: Open) -> None:
    """The first that answers is asked; a wrong name and none at all are said."""
    options = {"password": "s3cret", "timeout": 1000}
    away = ["127.0.0.1:1", *group.addresses]
    opened(sentinels=away, master_name=group.name, **options).ping()
    with pytest.raises(Unavailable, match="does not know 'other'.*check sentinels and master_name"):
        opened(sentinels=group.addresses, master_name="other", **options)
    with pytest.raises(Unavailable, match="check sentinels"):
        opened(sentinels=["127.0.0.1:1"], master_name=group.name, **options)


def test_sentinels_with_credentials_of_their_own(group: SentinelGroup, opened: Open) -> None:
    """`sentinel_username` and `sentinel_password` are for the Sentinels, the others for Redis."""
    port = group.master().port
    options = {
        "sentinel": [f"monitor own 127.0.0.1 {port} 1", "auth-pass own s3cret"],
        "user": "watcher on >eyes +@all",
        "requirepass": "sentinel",
    }
    connect = {"password": "sentinel"}
    with RedisProcess(options, program="redis-sentinel", connect=connect) as sentinel:
        where = {"sentinels": [f"127.0.0.1:{sentinel.port}"], "master_name": "own"}
        right = {"sentinel_username": "watcher", "sentinel_password": "eyes"}
        opened(**where, **right, password="s3cret").ping()
        opened(**where, sentinel_password="sentinel", password="s3cret").ping()
        for wrong in ({}, {"sentinel_password": "s3cret"}):
            with pytest.raises(Exception, match="Sentinel .*password"):
                opened(**where, **wrong, password="s3cret")


def test_replicas_that_do_not_confirm(opened: Open) -> None:
    """Behind a dead link, WAIT comes back too small: written, and OutcomeUnknown says so."""
    with (
        RedisProcess() as master,
        Proxy(master.address) as proxy,
        RedisProcess({"replicaof": f"127.0.0.1 {proxy.port}"}) as replica,
    ):
        eventually(lambda: master.info()["connected_slaves"] == 1, "the replica")
        eventually(lambda: replica.info()["master_link_status"] == "up", "the link")
        storage = opened(master, wait_replicas=1, wait_timeout=300)
        eventually(lambda: _confirmed(storage), "a confirmed write")
        proxy.blackhole = True
        with pytest.raises(OutcomeUnknown, match=r"only 0 of wait_replicas=1"):
            storage.values.put("key", b"unconfirmed")
        entry = storage.values.get("key")
        assert entry is not None and entry.value == b"unconfirmed"


def _confirmed(storage) -> bool:  # type: ignore[no-untyped-def]
    try:
        storage.values.put("key", b"confirmed")
    except OutcomeUnknown:
        return False
    return True


def test_too_few_replicas_refuse_writes(opened: Open) -> None:
    """min-replicas-to-write: Unavailable, nothing written."""
    with RedisProcess({"min-replicas-to-write": "1"}) as master:
        storage = opened(master)
        with pytest.raises(Unavailable, match="min-replicas-to-write"):
            storage.values.put("key", b"")
        assert storage.values.get("key") is None
