"""Infinitic's tables in PostgreSQL: collations, rights, and what may be missing or another's."""

from __future__ import annotations

import zlib

import pytest
import statekeep
from statekeep.errors import AccessDenied, ConfigError, StorageError, Unsupported

from tests.infinitic.conftest import Deploy, Open, refuses_keys, refuses_members, source_of
from tests.infinitic.deployments import PostgresDeployment
from tests.servers.postgres import PostgresProcess


@pytest.fixture
def deployment(deploy: Deploy) -> PostgresDeployment:
    """An empty one."""
    found = deploy("postgres")
    assert isinstance(found, PostgresDeployment)
    return found


def test_a_database_in_the_order_of_a_language(
    postgres: PostgresProcess, deploy: Deploy, opened: Open
) -> None:
    """Where `a` comes before `B`, and the order of keys is not that of bytes, all is found."""
    postgres.sql("CREATE DATABASE lang LOCALE_PROVIDER icu ICU_LOCALE 'en' TEMPLATE template0")
    deployment = deploy("postgres", database="lang")
    keys = ["a", "A", "b", "B", "a-b", "ab", "á", "Z", "_", "z", "tag é", "tag-é", "🚀"]
    deployment.put({key: (key.encode(), 1) for key in keys})
    for key in keys:
        deployment.add(key, [key.encode()])
    storage = opened(deployment)
    for limit in (1, 2, 100):
        for kind in statekeep.RecordKind.KEY_VALUE, statekeep.RecordKind.KEY_SET:
            seen, cursor = [], None
            while True:
                page = storage.backend.scan(kind, prefix="", limit=limit, cursor=cursor)
                seen += [record.key for record in page.items]  # type: ignore[union-attr]
                cursor = page.cursor
                if cursor is None:
                    break
            assert sorted(seen) == sorted(keys)
    assert [key for key, _ in storage.values.scan("a")] == ["a", "a-b", "ab"]
    assert sorted(storage.sets.scan("A")) == ["A"]


def test_members_that_are_there_twice(deployment: PostgresDeployment, opened: Open) -> None:
    """No index kept Infinitic from adding one again: here it is a member once."""
    for _ in range(3):
        deployment.add("set", [b"a", b"b", b"c"])
    storage = opened(deployment)
    assert [page.items for page in storage.sets.pages("set", 2)] == [(b"a", b"b"), (b"c",)]
    assert storage.sets.members("set") == {b"a", b"b", b"c"}


def test_what_cannot_be_held(deploy: Deploy, opened: Open) -> None:
    """Longer keys and members than statekeep's, and empty ones, are reported with their names."""
    wide = deploy("postgres", key="TEXT")
    storage = opened(wide)
    refuses_keys(storage, wide, "k" * 1025, "")
    refuses_members(storage, wide, b"m" * 1025, b"")


def test_a_value_larger_than_statekeep_holds(deployment: PostgresDeployment, opened: Open) -> None:
    """Few compressed bytes may stand for many: it is not unpacked to the end."""
    deployment.put({"bomb": (zlib.compress(bytes(80 * 2**20), 1), 1)})
    with pytest.raises(Unsupported, match="'bomb': it has more than"):
        opened(deployment).values.get("bomb")


MISSING = {
    "table": ("?schema={schema}&key_set_table=other", "table other"),
    "schema": ("?schema=nowhere", "table key_value_storage, table key_set_storage"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named(
    postgres: PostgresProcess, deployment: PostgresDeployment, name: str
) -> None:
    """Opening fails, and creates nothing."""
    query, phrase = MISSING[name]
    url = deployment.url.partition("?")[0] + query.format(schema=deployment.schema)
    with pytest.raises(ConfigError, match=f"lacks {phrase}.*is not created here"):
        statekeep.open(url)
    found = postgres.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'nowhere'")
    assert found == [] == postgres.sql("SELECT 1 FROM pg_class WHERE relname = 'other'")


def test_a_missing_database(postgres: PostgresProcess, deployment: PostgresDeployment) -> None:
    """It is not created either."""
    with pytest.raises(ConfigError, match="lacks the database"):
        statekeep.open(deployment.url.replace("/postgres?", "/absent?"))
    assert postgres.sql("SELECT 1 FROM pg_database WHERE datname = 'absent'") == []


def test_tables_of_statekeep_itself(postgres: PostgresProcess) -> None:
    """They are not Infinitic's; the error says how to read them."""
    url = f"postgres://postgres@127.0.0.1:{postgres.port}/postgres?schema=own&minimum_idle=0"
    with statekeep.open(url) as storage:
        storage.values.put("key", b"x")
    with pytest.raises(ConfigError, match=r"(?s)is not Infinitic's.*without `infinitic\+`"):
        statekeep.open(f"infinitic+{url}")


def test_infinitics_tables_are_not_taken_for_statekeeps(deployment: PostgresDeployment) -> None:
    """Without `infinitic+` they are refused, and left as they are."""
    deployment.put({"key": (b"x", 1)})
    with pytest.raises(ConfigError, match="is not statekeep's"):
        statekeep.open(deployment.url.removeprefix("infinitic+"))


def test_least_privilege(
    postgres: PostgresProcess, deployment: PostgresDeployment, opened: Open
) -> None:
    """USAGE and SELECT do; without one of them opening says so."""
    deployment.put({"key": (b"x", 3)})
    deployment.add("set", [b"m"])
    postgres.sql("CREATE ROLE reader LOGIN")
    url = deployment.url.replace("postgres@", "reader@")
    grants = (
        f"GRANT USAGE ON SCHEMA {deployment.schema} TO reader",
        f"GRANT SELECT ON {deployment.schema}.key_value_storage TO reader",
        f"GRANT SELECT ON {deployment.schema}.key_set_storage TO reader",
    )
    for grant in grants:
        with pytest.raises(AccessDenied, match="permission denied"):
            statekeep.open(url)
        postgres.sql(grant)
    with statekeep.open(url) as storage:
        assert [key for key, _ in storage.values.scan()] == ["key"]
        assert storage.sets.members("set") == {b"m"}
        assert storage.stats().stored_bytes


def test_a_standby_is_good_enough(
    postgres: PostgresProcess, deployment: PostgresDeployment
) -> None:
    """What serves reads is not asked whether it would take writes."""
    deployment.put({"key": (b"x", 3)})
    postgres.sql("CREATE ROLE bound LOGIN SUPERUSER")
    postgres.sql("ALTER ROLE bound SET default_transaction_read_only = on")
    url = deployment.url.replace("postgres@", "bound@")
    with statekeep.open(url) as storage:
        assert storage.values.get("key") is not None
    with pytest.raises(StorageError, match="is read-only"):
        statekeep.open(url + "&target_session_attrs=read-write")


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("create=true", "create: must be false"),
        ("undecodable=guess", "undecodable: must be one of refuse, as_stored"),
        ("schem=x", "did you mean 'schema'"),
    ],
)
def test_a_wrong_config(deployment: PostgresDeployment, option: str, problem: str) -> None:
    """Says where and what, before anything is opened."""
    with pytest.raises(ConfigError, match=problem):
        statekeep.open(f"{deployment.url}&{option}")


def test_pages_use_the_indexes(deployment: PostgresDeployment, opened: Open) -> None:
    """No page sorts or reads a whole table: plans of the statements that a scan runs."""
    client, schema = deployment.client, deployment.schema
    client.run(
        f"INSERT INTO {schema}.key_value_storage (key, value) "
        "SELECT 'k' || n, 'x' FROM generate_series(1, 20000) n"
    )
    client.run(
        f"INSERT INTO {schema}.key_set_storage (key, value) "
        "SELECT CASE WHEN n % 2 = 0 THEN 'large' ELSE 's' || n / 100 END, ('m' || n)::bytea "
        "FROM generate_series(1, 40000) n"
    )
    client.run(f"ANALYZE {schema}.key_value_storage, {schema}.key_set_storage")
    client.run("SET enable_seqscan = off")  # as the plugin's connections have it
    reads = source_of(opened(deployment))._reads
    plans = {
        "values": (reads.page, "(5000, 100)", "key_value_storage_pkey"),
        "with_prefix": (reads.page_with, "(5000, 'k1', 100)", "key_value_storage_pkey"),
        "sets": (reads.sets_page[">"], "('s7', 's', 100)", "index_key"),
        "members": (reads.members_page[">"], "('large', 'm2', 100)", "index_key_value"),
    }
    for name, (statement, arguments, index) in plans.items():
        types = ", ".join(statement.takes)
        client.run(f"PREPARE {name} ({types}) AS {statement.sql}")
        plan = "\n".join(row[0] for row in client.run(f"EXPLAIN EXECUTE {name} {arguments}"))
        assert index in plan, plan
        assert "Seq Scan" not in plan and "Sort" not in plan, plan
