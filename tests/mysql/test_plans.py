"""What the server does for each call: how many round trips, and which index."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from statekeep import Storage, Transaction
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    DeferredMessage,
    Delete,
    Entry,
    Operation,
    Put,
    RecordKind,
    Remove,
    Schedule,
)
from statekeep.sql.batch import Batch

from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.mysql.test_access import raw
from tests.servers.mysql import MysqlProcess
from tests.servers.proxy import Proxy

ROWS = 1_000_000
HOUR = timedelta(hours=1)
PAST = timedelta(hours=-1)

CALLS: dict[str, Callable[[Storage], object]] = {
    "get": lambda s: s.values.get("a"),
    "get_many": lambda s: s.values.get_many([f"{n}" for n in range(100)]),
    "put": lambda s: s.values.put("a", b"1"),
    "creation": lambda s: s.values.put("new", b"1", expected=0),
    "conditional_put": lambda s: s.values.put("known", b"1", expected=s.known),  # type: ignore[attr-defined]
    "put_many": lambda s: s.values.put_many({f"{n}": b"1" for n in range(100)}),
    "delete": lambda s: s.values.delete("a"),
    "members": lambda s: s.sets.members("a"),
    "page": lambda s: s.sets.page("a", limit=10),
    "contains": lambda s: s.sets.contains("a", b"x"),
    "add": lambda s: s.sets.add("a", b"x", b"y"),
    "update": lambda s: s.sets.update(add={"a": [b"x"]}, remove={"a": [b"y"]}),
    "schedule": lambda s: s.deferred.schedule("q", "id", due=PAST),
    "claim": lambda s: s.deferred.claim("q", limit=10),
    "cancel": lambda s: s.deferred.cancel("q", "id"),
    "scan_values": lambda s: next(s.values.scan("x"), None),
    "scan_sets": lambda s: next(s.sets.scan("x"), None),
    "ping": lambda s: s.ping(),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_call_is_one_round_trip(
    opened: Open, server: MysqlProcess, database: str, call: str
) -> None:
    """One packet there, one answer back."""
    with Proxy(server.address) as proxy:
        options = {**APP, "host": "127.0.0.1", "port": proxy.port, "ssl_mode": "disabled"}
        storage = opened(**options, database=database, maximum_pool_size=1)
        storage.known = storage.values.put("known", b"1")  # type: ignore[attr-defined]
        before = proxy.requests
        CALLS[call](storage)
        assert proxy.requests - before == 1


def test_a_unit_of_work_is_one_round_trip_and_a_conflict_two(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """A hundred callers' units at once too."""
    with Proxy(server.address) as proxy:
        options = {**APP, "host": "127.0.0.1", "port": proxy.port, "ssl_mode": "disabled"}
        storage = opened(**options, database=database, maximum_pool_size=1)
        version = storage.values.put("state", b"1")
        units = [
            Transaction(
                (Put(f"k{n}", b"1", 0), Add("tag", (b"%d" % n,)), Schedule("q", f"{n}", HOUR))
            )
            for n in range(100)
        ]
        before = proxy.requests
        raw(storage).commit(units)
        assert proxy.requests - before == 1
        outcomes = raw(storage).commit([Transaction((Check("state", 5), Put("x", b"1")))])
        assert outcomes[0].current == {"state": version}
        assert proxy.requests - before == 3


def test_many_puts_over_what_is_there_are_one_round_trip_conflicts_or_not(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """Each is told its own outcome: of another version, expired, absent, large, or written."""
    with Proxy(server.address) as proxy:
        options = {**APP, "host": "127.0.0.1", "port": proxy.port, "ssl_mode": "disabled"}
        storage = opened(**options, database=database, maximum_pool_size=1)
        values = storage.values
        versions = {f"k{n:03}": values.put(f"k{n:03}", b"old") for n in range(60)}
        expired = values.put("expired", b"old", ttl=timedelta(milliseconds=1))
        kept = values.put("kept", b"old", ttl=HOUR)
        time.sleep(0.01)
        versions["k007"] -= 1
        versions["k009"] += 1
        puts = [Put(key, b"new", expected) for key, expected in versions.items()]
        puts += [Put("expired", b"new", expired), Put("kept", b"", kept), Put("absent", b"", 5)]
        puts += [Put("k000/large", bytes(range(256)) * 60, values.put("k000/large", b""))]
        before = proxy.requests
        outcomes = raw(storage).commit([Transaction((put,)) for put in puts])
        assert proxy.requests - before == 1
        conflicts = {put.key: each.current for put, each in zip(puts, outcomes, strict=True)
                     if isinstance(each, Conflict)}  # fmt: skip
        assert conflicts == {
            "k007": {"k007": versions["k007"] + 1}, "k009": {"k009": versions["k009"] - 1},
            "expired": {"expired": 0}, "absent": {"absent": 0},
        }  # fmt: skip
        found = raw(storage).get_many([put.key for put in puts])
        for put, outcome in zip(puts, outcomes, strict=True):
            if isinstance(outcome, Committed):
                assert outcome.versions == {put.key: (put.expected or 0) + 1}
                assert found.pop(put.key) == Entry(put.value, (put.expected or 0) + 1, None)
        assert found.keys() == {"k007", "k009"}


def test_large_values_are_put_together(opened: Open, server: MysqlProcess, database: str) -> None:
    """In several statements of one transaction, each value byte for byte."""
    storage = opened(server, database=database)
    backend, keys = raw(storage), [f"large/{n}" for n in range(5)]
    for seed in range(2):
        versions = {key: storage.values.put(key, b"") for key in keys}
        values = {key: random.Random(f"{seed}{key}").randbytes(300_000) for key in keys}
        puts = [Put(key, value, versions[key]) for key, value in values.items()]
        outcomes = backend.commit([Transaction((put,)) for put in puts])
        assert [each.versions for each in outcomes] == [{key: versions[key] + 1} for key in keys]
        assert {key: each.value for key, each in backend.get_many(keys).items()} == values


@pytest.fixture(scope="module")
def large() -> Iterator[MysqlProcess]:
    """A server with a million values, members and messages each."""
    from tests.mysql.opening import open_mysql

    with MysqlProcess() as server:
        open_mysql({"host": "127.0.0.1", "port": server.port}).close()
        with server.client("infinitic", write_timeout=None) as client, client.cursor() as cursor:
            client._read_timeout = 300
            cursor.execute("SET unique_checks=0, sql_log_bin=0")
            for statement in (
                "INSERT INTO key_value_storage (`key`,version,expires,value) SELECT CONCAT("
                f"'key/',LPAD(seq,7,'0')),seq,IF(seq%100=0,seq,NULL),'x' FROM seq_1_to_{ROWS}",
                "INSERT INTO key_set_storage SELECT CONCAT('set/',LPAD(seq DIV 1000,4,'0')),"
                f"LPAD(seq,7,'0') FROM seq_1_to_{ROWS}",
                "INSERT INTO deferred_message_storage (queue,id,due,visible,attempt,token,payload) "
                f"SELECT CONCAT('q',seq%10),LPAD(seq,7,'0'),seq,seq,0,'','x' FROM seq_1_to_{ROWS}",
                "ANALYZE TABLE key_value_storage, key_set_storage, deferred_message_storage",
            ):
                cursor.execute(statement)
        yield server


def explained(storage: Storage, statement: str) -> list[tuple[str, str, int]]:
    """Access type, index and rows of each step on a table of ours."""
    read = raw(storage)._database.read
    rows = read(("SET @visible=1795534225583219", "EXPLAIN " + statement))[1].rows
    return [
        (str(row[3]), str(row[5]), int(row[8] or 0))
        for row in rows
        if row[2] and not str(row[2]).startswith("<")
    ]


def statements(storage: Storage) -> dict[str, str]:
    """One of each kind that reads or writes by index."""
    from statekeep_mysql.scans import SETS, _messages, _range, _values
    from statekeep_mysql.script import Script

    backend = raw(storage)
    s, names = backend._statements, backend._names
    operations: list[Operation] = [
        Put("key/0000005", b"1", 5), Put("key/0000006", b"1"), Delete("key/0000007"),
        Check("key/0000008", 8), *(Delete(f"key/{n:07}") for n in (1, 2, 3, 4, 9)),
        *(Cancel("q4", f"{n:07}") for n in range(5)),
        Add("set/0001", (b"x",)), Remove("set/0001", (b"0001500", b"y", b"z", b"0001501")),
        Cancel("q1", "0000001"), Acknowledge("q2", "0000002", "token"),
        Schedule("q3", "0000003", HOUR),
    ]  # fmt: skip
    script = Script(names)
    batch = Batch.of(0, Transaction(operations))
    script.update([Put("key/0000021", b"1", 21)])
    script.update([Put("key/0000022", b"1", 22), Put("key/0000023", b"1", 23)])
    script.lock(batch)
    script.guard(batch)
    script.write(batch)
    found = {
        f"script {n} {text[:30]}": text
        for n, text in enumerate(script.statements)
        if text.startswith(("SELECT", "UPDATE", "DELETE", "INSERT INTO `key_value_storage_floor`"))
    }
    some = [f"key/{n:07}" for n in range(0, 100_000, 50)]
    return found | {
        "get": s.get("key/0000005"),
        "get_many": s.get_many(some)[0],
        "members_many": s.members_many(["set/0001", "set/0002"])[0],
        "members": s.members("set/0001", b"0001500", 11),
        "contains": s.contains("set/0001", [b"0001500", b"x"])[0],
        "put": s.put("key/0000005", 5, b"1", None),
        "claim": s.claim("q1", 10, 1000, "token")[1],
        "claimed": s.claim("q1", 10, 1000, "token")[2],
        "expired": s.expired(1000),
        "values": _values(names, "key/0005", None, 101),
        "values_on": _values(names, "", "key/0500000", 101),
        "messages": _messages(names, "", "q5\0" + "0500000", 101),
        "messages_of": _messages(names, "q5\0", "q5\0" + "0500000", 101),
        "sets": SETS.format(table=names.key_set_table, range=_range("`key`", "", "set/0500"),
                            limit=101),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("mysql-large")
def test_every_statement_goes_by_an_index_at_a_million_rows(
    opened: Open, large: MysqlProcess
) -> None:
    """None reads a table as a whole, nor an index from its beginning."""
    storage = opened(large)
    for name, statement in statements(storage).items():
        steps = explained(storage, statement)
        assert steps, name
        for access, index, _ in steps:
            assert access in ("const", "eq_ref", "ref", "range"), f"{name}: {steps}"
            assert index not in ("None", ""), f"{name}: {steps}"


@pytest.mark.slow
@pytest.mark.xdist_group("mysql-large")
def test_calls_read_few_rows_at_a_million(opened: Open, large: MysqlProcess) -> None:
    """The engine's own count of what it read, which no estimate hides."""
    storage = Storage(raw(opened(large, maximum_pool_size=1)))  # past the envelope
    version = storage.values.put("key/0000005", b"1")
    page = storage.backend.scan
    claimed: list[DeferredMessage] = []

    def commit(*operations: Operation) -> None:
        (outcome,) = storage.backend.commit([Transaction(operations)])
        assert isinstance(outcome, Committed)

    def many(*puts: Put) -> None:
        outcomes = storage.backend.commit([Transaction((put,)) for put in puts])
        assert {type(each) for each in outcomes} == {Committed}

    bounds: dict[str, tuple[Callable[[], Any], int]] = {
        "get": (lambda: storage.values.get("key/0000005"), 2),
        "get_many": (lambda: storage.values.get_many([f"key/{n:07}" for n in range(1, 101)]), 210),
        "conditional put": (lambda: storage.values.put("key/0000005", b"2", expected=version), 4),
        "put": (lambda: storage.values.put("key/0000006", b"2"), 10),
        "creation": (lambda: storage.values.put("key/new", b"2", expected=0), 12),
        "check": (lambda: commit(Check("key/0000008", 8), Check("key/0000009", 9)), 16),
        "puts": (lambda: many(Put("key/0000031", b"", 31), Put("key/0000032", b"", 32)), 8),
        "check of one": (lambda: commit(Check("key/0000008", 8), Delete("no")), 16),
        "delete": (lambda: storage.values.delete("key/0000011"), 12),
        "add": (lambda: storage.sets.add("set/0500", b"x"), 4),
        "remove": (lambda: storage.sets.remove("set/0500", b"0500001"), 8),
        "remove two": (lambda: storage.sets.remove("set/0500", b"0500002", b"0500003"), 16),
        "schedule": (lambda: storage.deferred.schedule("q9", "0500009", due=PAST), 8),
        "cancel": (lambda: storage.deferred.cancel("q4", "0500004"), 8),
        "cancel unasked": (lambda: commit(Cancel("q5", "0500005")), 8),
        "cancel two": (lambda: commit(Cancel("q6", "0500006"), Cancel("q6", "0500016")), 16),
        "claim": (lambda: claimed.extend(storage.deferred.claim("q1", limit=10)), 80),
        "extend": (lambda: storage.deferred.extend(claimed[0], HOUR), 8),
        "release": (lambda: storage.deferred.release(claimed[1]), 8),
        "acknowledge": (lambda: storage.deferred.acknowledge(claimed[2]), 8),
        "acknowledge two": (
            lambda: commit(*(Acknowledge(*each.name, each.token) for each in claimed[3:5])), 16,
        ),
        "page": (lambda: storage.sets.page("set/0500", limit=10), 14),
        "contains": (lambda: storage.sets.contains("set/0500", b"0500001"), 4),
        "scan": (lambda: page(RecordKind.KEY_VALUE, prefix="key/05", limit=10, cursor=None), 120),
        "scan of sets": (
            lambda: page(RecordKind.KEY_SET, prefix="", limit=10, cursor=None), 40,
        ),
    }  # fmt: skip
    reads: dict[str, int] = {}
    for name, (call, _) in bounds.items():
        storage.ping()
        before = _read(storage)
        call()
        reads[name] = _read(storage) - before
    assert {name: read for name, read in reads.items() if read > bounds[name][1] + 40} == {}


def _read(storage: Storage) -> int:
    rows = raw(storage)._database.query("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(value) for name, value in rows if name != "Handler_read_rnd_deleted")


@pytest.mark.slow
def test_small_tables_too_are_read_by_index(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """A full read of a small table would wait for rows that others hold."""
    storage = opened(server, database=database)
    storage.values.put_many({f"key/{n:07}": b"1" for n in range(12)})
    storage.sets.add("set/0001", b"0001500", b"x")
    for n in range(5):
        storage.deferred.schedule(f"q{n}", f"{n:07}", due=PAST)
    for name, statement in statements(storage).items():
        for access, index, _ in explained(storage, statement):
            assert access != "ALL" and index != "None", f"{name}: {access} {index}"


def test_the_session_is_what_it_must_be(opened: Open, server: MysqlProcess) -> None:
    """Whatever the server's defaults are."""
    query = raw(opened(server))._database.query
    assert query("SELECT @@autocommit, @@tx_isolation, @@time_zone, @@completion_type") == [
        (1, "READ-COMMITTED", "+00:00", "NO_CHAIN")
    ]
    assert "STRICT_ALL_TABLES" in query("SELECT @@sql_mode")[0][0]
    assert query("SELECT @@wait_timeout, @@innodb_lock_wait_timeout, @@max_statement_time") == [
        (1860, 5, 60)
    ]
    assert query("SELECT @@in_predicate_conversion_threshold") == [(0,)]
