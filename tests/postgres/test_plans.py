"""No call that an application makes often reads a whole table, however many rows it has."""

from __future__ import annotations

from datetime import timedelta

import pytest
from statekeep import Storage
from statekeep.model import RecordKind
from statekeep_postgres.config import PostgresConfig

from tests.postgres.opening import open_postgres
from tests.servers.postgres import PostgresProcess, eventually

HOUR = timedelta(hours=1)
DEFAULTS = PostgresConfig()
TABLES = (DEFAULTS.key_value_table, DEFAULTS.key_set_table, DEFAULTS.deferred_table)

FILL = (
    "INSERT INTO {schema}.key_value_storage (key, version, value) "
    "SELECT 'key/' || n, 1, '' FROM generate_series(1, {rows}) n",
    "INSERT INTO {schema}.key_set_storage SELECT 'set/' || n % 1000, int4send(n) "
    "FROM generate_series(1, {rows}) n",
    "INSERT INTO {schema}.deferred_message_storage "
    "SELECT 'queue/' || n % 10, 'id/' || n, n, n, 0, '', '' FROM generate_series(1, {rows}) n",
    "ANALYZE {schema}.key_value_storage, {schema}.key_set_storage, "
    "{schema}.deferred_message_storage",
)


def exercise(storage: Storage) -> None:
    """Every call but `stats`, which counts."""
    values, sets, deferred = storage.values, storage.sets, storage.deferred
    backend = storage.backend
    values.get("key/7")
    backend.get_many([f"key/{number}" for number in range(100)])
    version = values.put("key/7", b"")
    values.put("key/7", b"", expected=version)
    values.put("key/7", b"", ttl=HOUR)
    values.put("new", b"", expected=0)
    values.delete("new")
    values.put_many({f"key/{number}": b"" for number in range(100)})
    sets.members("set/7")
    sets.members_many(["set/7", "set/8"])
    sets.page("set/7", limit=10)
    sets.contains("set/7", b"\0\0\0\7")
    sets.update({"set/7": [b"a", b"b"]}, {"set/8": [b"c"]})
    for message in deferred.claim("queue/7", limit=10):
        with storage.transaction() as tx:
            tx.put("key/9", b"")
            tx.add("set/9", b"member")
            tx.schedule("queue/9", "next", due=HOUR)
            tx.acknowledge(message)
    deferred.cancel("queue/9", "next")
    for kind in RecordKind:
        first = backend.scan(kind, prefix="", limit=10, cursor=None)
        assert backend.scan(kind, prefix="", limit=10, cursor=first.cursor).items
    backend.scan(RecordKind.KEY_VALUE, prefix="key/99", limit=10, cursor=None)
    storage.purge()
    storage.ping()


@pytest.mark.parametrize(
    "rows", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)], ids=["20000", "1000000"]
)
def test_no_table_is_read_whole(server: PostgresProcess, schema: str, rows: int) -> None:
    def opened() -> Storage:  # without envelopes, for the rows are made by SQL
        host, port = server.address
        return Storage(open_postgres({"host": host, "port": port, "schema": schema}))

    opened().close()
    for statement in FILL:
        server.sql(statement.format(schema=schema, rows=rows))
    before, read = scans(server, schema), from_indexes(server, schema)
    storage = opened()
    exercise(storage)
    storage.close()
    assert scans(server, schema) == before
    assert from_indexes(server, schema) - read < rows / 5, "an index was read from end to end"
    for table in TABLES:
        server.sql(f"SELECT count(*) FROM (SELECT * FROM {schema}.{table} OFFSET 0) AS every")
    assert scans(server, schema) == [count + 1 for count in before]  # so it would have shown


def from_indexes(server: PostgresProcess, schema: str) -> int:
    """How many entries of the tables' indexes were read, as `scans` counts."""
    ((count,),) = server.sql(
        "SELECT sum(idx_tup_read)::int8 FROM pg_stat_user_indexes WHERE schemaname = :schema",
        schema=schema,
    )
    return int(count)


def scans(server: PostgresProcess, schema: str) -> list[int]:
    """How often each table was read whole, once every other connection is gone."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'statekeep'"
    eventually(lambda: server.sql(others) == [[0]], "the end of the connections")
    rows = server.sql(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = :schema",
        schema=schema,
    )
    return [count for name, count in sorted(rows) if name in TABLES]
