"""Databases, schemas and tables: created once, moved forward by steps, never taken from others."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import statekeep
from statekeep import Storage
from statekeep.errors import ConfigError
from statekeep.testing.children import run_processes
from statekeep_postgres import schema as steps
from statekeep_postgres.names import derived

from tests.postgres.conftest import Open
from tests.servers.postgres import FAST, PostgresProcess

PROCESSES = 20

TABLES = {
    "key_value_storage", "key_set_storage", "deferred_message_storage", "key_value_storage_floor",
    "key_value_storage_layout",
}  # fmt: skip


def open_and_put(options: dict[str, Any], number: int) -> int:
    """What each of many processes does when all start at once."""
    with statekeep.open({"postgres": options}) as storage:
        return storage.values.put(f"key/{number}", b"%d" % number, expected=0)


def tables(server: PostgresProcess, schema: str, database: str = "postgres") -> set[str]:
    rows = server.sql(
        "SELECT tablename FROM pg_tables WHERE schemaname = :schema", database, schema=schema
    )
    return {name for (name,) in rows}


def test_many_processes_create_everything_at_once() -> None:
    """Twenty start together on a server that has nothing: all work, on one set of tables."""
    with PostgresProcess(FAST) as server:
        options = {
            "host": "127.0.0.1", "port": server.port, "minimum_idle": 0,
            "database": "workflows", "schema": "state",
        }  # fmt: skip
        arguments = [(options, number) for number in range(PROCESSES)]
        versions = run_processes(open_and_put, arguments, 60)
        assert len(versions) == PROCESSES
        assert tables(server, "state", "workflows") == TABLES
        with statekeep.open({"postgres": options}) as storage:
            found = {key: entry.value for key, entry in storage.values.scan()}
        assert found == {f"key/{n}": b"%d" % n for n in range(PROCESSES)}
        assert server.sql("SELECT * FROM state.key_value_storage_layout", "workflows") == [
            [steps.LAYOUT, "key_set_storage", "deferred_message_storage"]
        ]


@pytest.mark.parametrize(
    "definition",
    [
        "TABLE {schema}.{table} (id integer PRIMARY KEY, note text)",
        "TABLE {schema}.{table} (key text PRIMARY KEY, version int8, expires int8, value bytea)",
        "VIEW {schema}.{table} AS SELECT 1 AS id",
        "SEQUENCE {schema}.{table}",
    ],
    ids=["other_columns", "other_collation", "view", "sequence"],
)
def test_what_is_foreign_is_refused(
    server: PostgresProcess, opened: Open, schema: str, definition: str
) -> None:
    """Named and explained; not altered, and nothing else is created beside it."""
    server.sql(f"CREATE SCHEMA {schema}")
    server.sql("CREATE " + definition.format(schema=schema, table="key_value_storage"))
    before = described(server, schema)
    with pytest.raises(ConfigError, match="(?s)'key_value_storage'.*not changed") as caught:
        opened(server)
    assert "choose another name or schema" in str(caught.value)
    assert described(server, schema) == before


@pytest.mark.parametrize("table", ["key_set_storage", "deferred_message_storage"])
def test_a_foreign_table_among_the_others(
    server: PostgresProcess, opened: Open, schema: str, table: str
) -> None:
    """Each of the three is looked at; another name is the way out."""
    server.sql(f"CREATE SCHEMA {schema}")
    server.sql(f"CREATE TABLE {schema}.{table} (id integer)")
    server.sql(f"INSERT INTO {schema}.{table} VALUES (7)")
    with pytest.raises(ConfigError, match=f"'{table}'"):
        opened(server)
    option = {"key_set_storage": "key_set_table"}.get(table, "deferred_table")
    opened(server, **{option: "ours"}).values.put("key", b"")
    assert server.sql(f"SELECT * FROM {schema}.{table}") == [[7]]


def described(server: PostgresProcess, schema: str) -> list[Any]:
    """Every column of every relation of a schema."""
    return server.sql(
        "SELECT c.relname, c.relkind::text, a.attname, a.atttypid FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid WHERE n.nspname = :schema ORDER BY 1, 2, 3",
        schema=schema,
    )


NASTY = (
    'x"; DROP SCHEMA public; --',
    "x'; DROP TABLE a; --",
    "Größe {key_value} %s $1 \\",
    "select",
    "ä" * 31 + "x",  # 63 bytes
)


@pytest.mark.parametrize("name", NASTY)
def test_names_are_names(opened: Open, server: PostgresProcess, name: str) -> None:
    """Whatever a schema and its tables are called, they are called that, and nothing else runs."""
    schema = f"{uuid.uuid4().hex[:8]}{name}".encode()[:63].decode("utf-8", "ignore")
    other = f"{name[:-1]}2" if len(name.encode()) > 60 else f"{name}2"
    storage = opened(
        server, schema=schema, key_value_table=name, key_set_table=other, deferred_table="d"
    )
    with storage.transaction() as tx:
        tx.put("key", b"value")
        tx.add("set", b"member")
    assert storage.values.delete("key")
    assert storage.values.put("key", b"value", expected=0) > 0
    assert storage.sets.members("set") == {b"member"}
    storage.stats()
    storage.purge()
    assert tables(server, schema) == {
        name, other, "d", derived(name, "_floor"), derived(name, "_layout"),
    }  # fmt: skip
    assert server.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'public'") == [[1]]
    server.sql('DROP SCHEMA "{}" CASCADE'.format(schema.replace('"', '""')))


@pytest.mark.parametrize("option", ["database", "schema", "key_value_table", "key_set_table"])
@pytest.mark.parametrize("name", ["", " ", "x" * 64, "ä" * 32, "a\0b"])
def test_names_that_are_refused(opened: Open, option: str, name: str) -> None:
    """The server would cut them, or cannot have them: ConfigError, before any connection."""
    with pytest.raises(ConfigError, match=f"storage.postgres.{option}: must"):
        opened(host="127.0.0.1", port=1, **{option: name})


def test_create_off(server: PostgresProcess, opened: Open, schema: str) -> None:
    """Nothing is created: the message says what is missing; what is there is used."""
    for missing in (f"schema {schema}", "table key_value_storage"):
        with pytest.raises(ConfigError, match=rf"(?s){missing}.*create = false") as caught:
            opened(server, create=False)
        assert "table key_set_storage" in str(caught.value)
        assert tables(server, schema) == set()
        server.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    opened(server)
    opened(server, create=False).values.put("key", b"")


def test_two_storages_in_one_schema(server: PostgresProcess, opened: Open, schema: str) -> None:
    """With tables of their own they are apart; mixed up, they are refused."""
    names = {"key_value_table": "a", "key_set_table": "b", "deferred_table": "c"}
    opened(server).values.put("key", b"one")
    other = opened(server, **names)
    assert other.values.get("key") is None
    with pytest.raises(ConfigError, match="belongs together with 'b' and 'c'"):
        opened(server, **{**names, "key_set_table": "key_set_storage"})


def test_a_newer_layout_is_refused(server: PostgresProcess, opened: Open, schema: str) -> None:
    """A later version of statekeep wrote it: upgrade, and touch nothing."""
    opened(server)
    server.sql(f"UPDATE {schema}.key_value_storage_layout SET layout = {steps.LAYOUT + 1}")
    before = described(server, schema)
    with pytest.raises(ConfigError, match=f"layout {steps.LAYOUT + 1}.*pip install --upgrade"):
        opened(server)
    assert described(server, schema) == before


def test_an_older_layout_moves_forward(
    server: PostgresProcess, opened: Open, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, once, with its data; and not at all where nothing is to be created."""
    opened(server).values.put("key", b"value")

    def second(names: Any) -> list[str]:
        return [f"CREATE TABLE {names.q('step_two')} (id integer)"]

    monkeypatch.setattr(steps, "STEPS", (*steps.STEPS, second))
    monkeypatch.setattr(steps, "LAYOUT", steps.LAYOUT + 1)
    with pytest.raises(ConfigError, match=f"layout {steps.LAYOUT} in place of {steps.LAYOUT - 1}"):
        opened(server, create=False)
    for _ in range(2):
        entry = opened(server).values.get("key")
        assert entry is not None and entry.value == b"value"
    assert tables(server, schema) == TABLES | {"step_two"}
    layout = server.sql(f"SELECT layout FROM {schema}.key_value_storage_layout")
    assert layout == [[steps.LAYOUT]]


def test_a_step_that_fails_leaves_nothing(
    server: PostgresProcess, opened: Open, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are one transaction."""
    opened(server)
    half = ("CREATE TABLE {0}.half (id integer)", "SELECT 1 FROM {0}.nowhere")
    monkeypatch.setattr(
        steps, "STEPS", (*steps.STEPS, lambda names: [each.format(schema) for each in half])
    )
    monkeypatch.setattr(steps, "LAYOUT", steps.LAYOUT + 1)
    with pytest.raises(ConfigError, match="nowhere"):
        opened(server)
    assert tables(server, schema) == TABLES
    assert server.sql(f"SELECT layout FROM {schema}.key_value_storage_layout") == [
        [steps.LAYOUT - 1]
    ]


@pytest.mark.parametrize(
    "drop",
    [
        "INDEX {schema}.key_value_storage_expires",
        "INDEX {schema}.deferred_message_storage_visible",
        "FUNCTION {schema}.key_value_storage_commit_1",
        "TRIGGER key_value_storage_keep_floor_1 ON {schema}.key_value_storage",
        "TABLE {schema}.key_set_storage",
    ],
)
def test_what_was_dropped_is_made_again(
    server: PostgresProcess, opened: Open, schema: str, drop: str
) -> None:
    """A table, index, function or trigger that is gone is missed at the next opening."""
    opened(server).values.put("key", b"value")
    server.sql("DROP " + drop.format(schema=schema))
    with pytest.raises(ConfigError, match="create = false"):
        opened(server, create=False)
    storage = opened(server)
    assert works(storage) and works(opened(server, create=False))
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"value"


def works(storage: Storage) -> bool:
    with storage.transaction() as tx:
        tx.put("other", b"")
        tx.add("set", b"member")
    return storage.values.delete("other")


def test_tables_that_vanish_while_in_use(
    server: PostgresProcess, opened: Open, schema: str
) -> None:
    """An error that says what to do, and no other; made again, the storage goes on by itself."""
    storage = opened(server)
    storage.values.put("key", b"")
    storage.values.get("key")
    server.sql(f"DROP SCHEMA {schema} CASCADE")
    with pytest.raises(ConfigError, match=r"`setup\(\)` creates what is missing"):
        storage.values.get("key")
    with pytest.raises(ConfigError, match=r"`setup\(\)` creates what is missing"):
        storage.values.put("key", b"")
    opened(server)
    assert works(storage) and storage.values.get("key") is None
