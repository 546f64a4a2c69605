"""Infinitic's Redis: which keys are what, and scans that survive what a hash table does."""

from __future__ import annotations

from contextlib import closing

import pytest
import statekeep
from statekeep.errors import AccessDenied, ConfigError, CorruptValue, InvalidArgument, Unsupported
from statekeep.model import RecordKind

from tests.infinitic.conftest import Deploy, Open
from tests.infinitic.deployments import RedisDeployment
from tests.servers.redis import RedisProcess, SentinelGroup


@pytest.fixture
def deployment(deploy: Deploy) -> RedisDeployment:
    """An empty one."""
    found = deploy("redis")
    assert isinstance(found, RedisDeployment)
    return found


def test_versions_are_no_values(deployment: RedisDeployment, opened: Open) -> None:
    """`key:version` is one where it is a number and its key is there; else it is a value."""
    client = deployment.client
    deployment.put({"a": (b"A", 7), "job:version": (b"a value of its own", 3)})
    client.set("orphan:version", "5")
    client.set("text", b"T")
    client.set("text:version", b"no number")
    client.sadd("set", b"m")
    client.set("set:version", "9")
    client.set(":version", "1")
    storage = opened(deployment)
    wanted = {
        "a": (b"A", 7),
        "job:version": (b"a value of its own", 3),
        "orphan:version": (b"5", 1),
        "text": (b"T", 1),
        "text:version": (b"no number", 1),
        "set:version": (b"9", 1),
        ":version": (b"1", 1),
    }
    scanned = {key: (entry.value, entry.version) for key, entry in storage.values.scan()}
    assert scanned == wanted
    asked = [*wanted, "a:version", "job:version:version"]
    found = storage.values.get_many(asked)
    assert {key: (entry.value, entry.version) for key, entry in found.items()} == wanted
    assert storage.stats().kinds[RecordKind.KEY_VALUE].records == len(wanted)


def test_keys_of_other_types_are_not_infinitics(deployment: RedisDeployment, opened: Open) -> None:
    """Lists, hashes, sorted sets and streams are another program's."""
    client = deployment.client
    client.rpush("list", b"x")
    client.hset("hash", "f", b"x")
    client.zadd("sorted", {"x": 1})
    client.xadd("stream", {"f": "x"})
    deployment.put({"value": (b"x", 1)})
    deployment.add("set", [b"x"])
    storage = opened(deployment)
    others = ["list", "hash", "sorted", "stream"]
    assert [key for key, _ in storage.values.scan()] == ["value"]
    assert list(storage.sets.scan()) == ["set"]
    assert storage.values.get_many(others) == {}
    assert storage.sets.members_many(others) == dict.fromkeys(others, frozenset())


def test_a_prefix_leaves_other_programs_out(deployment: RedisDeployment, opened: Open) -> None:
    """Keys that do not begin with it are neither listed nor read nor counted."""
    deployment.put({"workflow.state.1": (b"x", 1), "work": (b"x", 1), "session:1": (b"x", 1)})
    deployment.add("workflow:A|tag:t|setIds", [b"x"])
    deployment.add("members", [b"x"])
    storage = opened(deployment, prefix="workflow")
    assert [key for key, _ in storage.values.scan()] == ["workflow.state.1"]
    assert [key for key, _ in storage.values.scan("work")] == ["workflow.state.1"]
    assert [key for key, _ in storage.values.scan("workflow.state")] == ["workflow.state.1"]
    assert list(storage.values.scan("session")) == []
    assert list(storage.sets.scan()) == ["workflow:A|tag:t|setIds"]
    assert list(storage.values.get_many(["workflow.state.1", "work"])) == ["workflow.state.1"]
    assert storage.sets.members("members") == frozenset()
    assert storage.sets.page("members", limit=1).items == ()
    assert storage.backend.contains("members", [b"x"]) == frozenset()
    assert storage.stats().kinds[RecordKind.KEY_VALUE].records == 1


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (b"k" * 1025, "1 to 1024 bytes"),
        (b"a\0b", "NUL"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "1 to 1024 bytes"),
    ],
    ids=["long", "nul", "not_utf8", "empty"],
)
def test_keys_that_cannot_be_held(
    deployment: RedisDeployment, opened: Open, key: bytes, why: str
) -> None:
    """Reported with their names, for values and for sets; never left out."""
    storage = opened(deployment)
    deployment.client.set(key, b"x")
    with pytest.raises(Unsupported, match=f"(?s)cannot hold the value .*{why}.*left out silently"):
        list(storage.values.scan())
    deployment.client.delete(key)
    deployment.client.sadd(key, b"x")
    with pytest.raises(Unsupported, match=f"(?s)cannot hold the set .*{why}"):
        list(storage.sets.scan())


def test_members_that_cannot_be_held(deployment: RedisDeployment, opened: Open) -> None:
    """Too long, or empty: both ways of reading a set name set and member."""
    storage = opened(deployment)
    for number, member in enumerate((b"m" * 1025, b"")):
        key = f"set/{number}"
        deployment.add(key, [b"fine", member])
        with pytest.raises(Unsupported, match=f"(?s)member b'.*of the set '{key}'"):
            storage.sets.members(key)
        with pytest.raises(Unsupported, match=f"of the set '{key}'"):
            list(storage.sets.pages(key))


def test_a_version_beyond_any(deployment: RedisDeployment, opened: Open) -> None:
    """A number that is no version of anything is reported, not cut."""
    deployment.put({"odd": (b"x", 9_999_999_999_999_999_999)})
    with pytest.raises(CorruptValue, match="'odd' has the version 9999999999999999999"):
        opened(deployment).values.get("odd")


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_scans_while_the_table_grows_and_shrinks(
    deployment: RedisDeployment, opened: Open, limit: int
) -> None:
    """What is there throughout is met, while ten times as much comes and goes."""
    stay = {f"stay/{number:03}" for number in range(60)}
    deployment.put(dict.fromkeys(stay, (b"x", 2)))
    backend = opened(deployment).backend
    come = [f"come/{number:04}" for number in range(1500)]
    seen: set[str] = set()
    cursor, pages = None, 0
    while True:
        page = backend.scan(RecordKind.KEY_VALUE, prefix="stay/", limit=limit, cursor=cursor)
        names = [record.key for record in page.items]  # type: ignore[union-attr]
        assert len(set(names)) == len(names) <= limit
        seen.update(names)
        cursor = page.cursor
        if cursor is None:
            break
        pages += 1
        if pages == 2:
            deployment.put(dict.fromkeys(come, (b"x", 1)))
        if pages == 5:
            deployment.client.delete(*come, *(f"{key}:version" for key in come))
    assert seen == stay


def test_a_set_that_changes_its_form_between_pages(
    deployment: RedisDeployment, opened: Open
) -> None:
    """A small set is one portion that pages cut; it becomes a table, and nothing is missed."""
    stay = {b"%d" % number for number in range(40)}  # Redis 7.0 keeps no others in a small form
    deployment.add("set", stay)
    backend = opened(deployment).backend
    page = backend.members("set", limit=15, cursor=None)
    seen = set(page.items)
    assert len(seen) == 15
    deployment.add("set", [b"n%04d" % number for number in range(1000)])
    while page.cursor is not None:
        page = backend.members("set", limit=15, cursor=page.cursor)
        assert len(page.items) <= 15
        seen.update(page.items)
    assert stay <= seen


def test_a_large_bucket_is_cut_and_its_cursor_is_checked(
    deployment: RedisDeployment, opened: Open
) -> None:
    """Garbage, cursors of another scan and cut ones are refused or mean the same place."""
    deployment.put({f"k{number}": (b"x", 1) for number in range(30)})
    deployment.add("a", [b"%d" % number for number in range(30)])
    deployment.add("b", [b"%d" % number for number in range(30)])
    backend = opened(deployment).backend
    values = backend.scan(RecordKind.KEY_VALUE, prefix="k", limit=1, cursor=None).cursor
    members = backend.members("a", limit=5, cursor=None).cursor
    assert values is not None and members is not None
    for wrong in ("", "AAAAAAAA", members, values[:-4], values + "AAAA"):
        with pytest.raises(InvalidArgument):
            backend.scan(RecordKind.KEY_VALUE, prefix="k", limit=1, cursor=wrong)
    for wrong in (values, members):
        with pytest.raises(InvalidArgument):
            backend.members("b", limit=5, cursor=wrong)
    with pytest.raises(InvalidArgument):
        backend.scan(RecordKind.KEY_VALUE, prefix="", limit=1, cursor=values)


def test_a_restart_between_pages(opened: Open) -> None:
    """Another process has another order: its cursor is refused, and not taken for a place."""
    with RedisProcess({"appendonly": "yes", "appendfsync": "always"}) as server:
        deployment = RedisDeployment(server, 0)
        deployment.put({f"k{number}": (b"x", 1) for number in range(50)})
        backend = opened(deployment).backend
        page = backend.scan(RecordKind.KEY_VALUE, prefix="", limit=5, cursor=None)
        server.kill()
        server.start()
        with pytest.raises(InvalidArgument, match="begin the scan again"):
            backend.scan(RecordKind.KEY_VALUE, prefix="", limit=5, cursor=page.cursor)
        deployment.client.close()


RIGHTS = (
    "+select +info +scan +mget +strlen +type +getrange +scard +smembers +smismember +sscan +ping"
)
"""What an ACL user needs, as docs/infinitic.md says."""


def test_least_privilege(deployment: RedisDeployment, opened: Open) -> None:
    """With the reads alone everything works; without one of them, opening says which."""
    deployment.put({"key": (b"x", 1)})
    deployment.add("set", [b"m"])
    words = ["ACL", "SETUSER", "reader", "reset", "on", ">secret", "%R~*", *RIGHTS.split()]
    deployment.client.execute_command(*words)
    url = deployment.url.replace("//", "//reader:secret@")
    with statekeep.open(url) as storage:
        assert [key for key, _ in storage.values.scan()] == ["key"]
        assert storage.sets.members("set") == {b"m"}
        storage.stats()
    for right in RIGHTS.split():
        if right == "+ping":
            continue
        deployment.client.execute_command("ACL", "SETUSER", "reader", right.replace("+", "-"))
        with pytest.raises(AccessDenied, match=f"(?i){right[1:]}"):
            statekeep.open(url)
        deployment.client.execute_command("ACL", "SETUSER", "reader", right)


def test_sentinels_lead_to_the_master() -> None:
    """As for a storage of statekeep's own."""
    with closing(SentinelGroup()) as group:
        deployment = RedisDeployment(group.servers[0], 0)
        deployment.put({"key": (b"x", 4)})
        sentinels = [f"127.0.0.1:{sentinel.port}" for sentinel in group.sentinels]
        config = {"infinitic_redis": {"sentinels": sentinels, "master_name": group.name}}
        with statekeep.open(config) as storage:
            assert {key: entry.version for key, entry in storage.values.scan()} == {"key": 4}
        deployment.client.close()


def test_a_cluster_is_refused() -> None:
    """Infinitic cannot have written to one."""
    with pytest.raises(ConfigError, match="infinitic_redis.nodes: must be empty"):
        statekeep.open({"infinitic_redis": {"nodes": ["a:7000"]}})
