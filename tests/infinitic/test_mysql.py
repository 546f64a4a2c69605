"""Infinitic's tables in MySQL and MariaDB: a collation that takes keys for one another, rights."""

from __future__ import annotations

import pytest
import statekeep
from statekeep.errors import AccessDenied, ConfigError

from tests.infinitic.conftest import Deploy, Open, refuses_keys, refuses_members, source_of
from tests.infinitic.deployments import MysqlDeployment
from tests.servers.mysql import MysqlProcess


@pytest.fixture
def deployment(deploy: Deploy) -> MysqlDeployment:
    """An empty one."""
    found = deploy("mysql")
    assert isinstance(found, MysqlDeployment)
    return found


def test_keys_that_the_collation_takes_for_one(deployment: MysqlDeployment, opened: Open) -> None:
    """Infinitic's `utf8` finds `Key` for `key`; here each key is only itself."""
    deployment.put({"Key": (b"value", 1)})
    for key in ("Tag", "tag", "TAG", "tag ", "tág"):
        deployment.add(key, [key.encode(), b"shared", b"SHARED"])
    storage = opened(deployment)
    assert storage.values.get("key") is None and storage.values.get("Key ") is None
    assert list(storage.values.get_many(["key", "Key", "KEY"])) == ["Key"]
    assert [key for key, _ in storage.values.scan("k")] == []
    found = storage.sets.members_many(["Tag", "tag", "TAG", "tag ", "tág", "TÁG"])
    assert found.pop("TÁG") == frozenset()
    assert found == {key: {key.encode(), b"shared", b"SHARED"} for key in found}
    assert storage.backend.contains("tag", [b"Tag", b"tag", b"shared"]) == {b"tag", b"shared"}
    for limit in (1, 2, 10):
        seen, cursor = [], None
        while True:
            page = storage.backend.scan(
                statekeep.RecordKind.KEY_SET, prefix="", limit=limit, cursor=cursor
            )
            seen += [record.key for record in page.items]  # type: ignore[union-attr]
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == sorted(found)
    assert sorted(storage.sets.scan("tag")) == ["tag", "tag "]
    assert {m for page in storage.sets.pages("tag", 1) for m in page.items} == found["tag"]
    assert storage.stats().kinds[statekeep.RecordKind.KEY_SET].records == 5


def test_members_that_are_there_twice(deployment: MysqlDeployment, opened: Open) -> None:
    """No index kept Infinitic from adding one again: here no page has it twice."""
    for _ in range(3):
        deployment.add("set", [b"a", b"b"])
    storage = opened(deployment)
    pages = [page.items for page in storage.sets.pages("set", 4)]
    assert pages[0] == (b"a", b"b") and {member for page in pages for member in page} == {
        b"a",
        b"b",
    }
    assert storage.sets.members("set") == {b"a", b"b"}


def test_keys_that_utf8_cannot_hold(deployment: MysqlDeployment, opened: Open) -> None:
    """Asked for, they are absent; they are not taken for what they would be cut to."""
    deployment.put({"?": (b"x", 1), "a?": (b"x", 1)})
    storage = opened(deployment)
    assert storage.values.get_many(["🚀", "a🚀", "?"]).keys() == {"?"}
    assert storage.sets.members("🚀") == frozenset()
    assert list(storage.values.scan("🚀")) == []


@pytest.mark.parametrize(
    "charset", ["CHARSET=utf8mb4", "CHARSET=latin1", "CHARSET=utf8mb4 COLLATE=utf8mb4_bin"]
)
def test_other_character_sets(deploy: Deploy, opened: Open, charset: str) -> None:
    """An administrator may have changed it."""
    deployment = deploy("mysql", charset=charset)
    deployment.put({"tag é": (b"x", 2)})
    deployment.add("tag é", [b"id"])
    storage = opened(deployment)
    assert {key: entry.version for key, entry in storage.values.scan("tag é")} == {"tag é": 2}
    assert storage.values.get("tag é") is not None
    assert list(storage.sets.scan()) == ["tag é"]
    assert storage.sets.members("tag é") == {b"id"}


def test_what_cannot_be_held(deploy: Deploy, opened: Open) -> None:
    """Reported with their names."""
    wide = deploy("mysql", key="VARCHAR(700)", member="VARBINARY(900)", charset="CHARSET=utf8")
    storage = opened(wide)
    refuses_keys(storage, wide, "é" * 513, "", "a\0b")
    refuses_members(storage, wide, b"")


def test_what_is_missing_is_named(mysql: MysqlProcess, deployment: MysqlDeployment) -> None:
    """Opening fails, and creates nothing."""
    with pytest.raises(ConfigError, match="lacks table other.*is not created here"):
        statekeep.open(f"{deployment.url}&key_value_table=other")
    with pytest.raises(ConfigError, match="lacks the database"):
        statekeep.open(deployment.url.replace(deployment.database, "absent"))
    assert mysql.sql("SHOW DATABASES LIKE 'absent'") == []
    assert mysql.sql("SHOW TABLES LIKE 'other'", database=deployment.database) == []


def test_tables_of_statekeep_itself(mysql: MysqlProcess, deployment: MysqlDeployment) -> None:
    """Neither is taken for the other."""
    with pytest.raises(ConfigError, match="is not statekeep's"):
        statekeep.open(deployment.url.removeprefix("infinitic+"))
    url = deployment.url.replace(deployment.database, "own")
    with statekeep.open(url.removeprefix("infinitic+")) as storage:
        storage.values.put("key", b"x")
    with pytest.raises(ConfigError, match="is not Infinitic's"):
        statekeep.open(url)


def test_least_privilege(mysql: MysqlProcess, deployment: MysqlDeployment) -> None:
    """SELECT on the two tables does; without it they are not there for the user."""
    deployment.put({"key": (b"x", 3)})
    deployment.add("set", [b"m"])
    mysql.sql("CREATE USER 'reader'@'%' IDENTIFIED BY 'secret'")
    url = f"infinitic+mysql://reader:secret@{deployment.url.partition('@')[2]}"
    with pytest.raises(AccessDenied):
        statekeep.open(url)
    mysql.sql(f"GRANT SELECT ON {deployment.database}.key_value_storage TO 'reader'@'%'")
    with pytest.raises(ConfigError, match="lacks table key_set_storage, or the user may not look"):
        statekeep.open(url)
    mysql.sql(f"GRANT SELECT ON {deployment.database}.key_set_storage TO 'reader'@'%'")
    with statekeep.open(url) as storage:
        assert [key for key, _ in storage.values.scan()] == ["key"]
        assert storage.sets.members("set") == {b"m"}
        assert storage.stats().stored_bytes


def test_a_replica_is_good_enough(mysql: MysqlProcess, deployment: MysqlDeployment) -> None:
    """What serves reads is not asked whether it would take writes."""
    deployment.put({"key": (b"x", 3)})
    mysql.sql("SET GLOBAL read_only = ON")
    try:
        with statekeep.open(deployment.url) as storage:
            assert storage.values.get("key") is not None
    finally:
        mysql.sql("SET GLOBAL read_only = OFF")


def test_pages_use_the_indexes(deployment: MysqlDeployment, opened: Open) -> None:
    """Nothing reads a whole table to find one key, or a page of a set."""
    deployment.put({f"k{number}": (b"x", 1) for number in range(2000)})
    for number in range(50):
        deployment.add(f"s{number}", [b"m%d" % each for each in range(40)])
    deployment.run("ANALYZE TABLE key_value_storage, key_set_storage")
    reads = source_of(opened(deployment)).reads
    statements = {
        "get": (reads.get_many(["k7", "k9"])[0], "key"),
        "members": (reads.members("s7", 5, 10), "key"),
        "members_many": (reads.members_many(["s7"])[0], "key"),
        "page": (reads.page("", 1900, 10), "PRIMARY"),
        "sets": (reads.sets_page("", 1900, 10), "PRIMARY"),
    }
    for name, (sql, index) in statements.items():
        with deployment.client.cursor() as cursor:
            cursor.execute("EXPLAIN " + sql)
            plan = cursor.fetchall()
        assert any(str(row[5]).startswith(index) for row in plan), (name, plan)
        assert all(row[3] != "ALL" or str(row[2]).startswith("<") for row in plan), (name, plan)
