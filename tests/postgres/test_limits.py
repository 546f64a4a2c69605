"""What runs out or gets in the way: connections, time, locks. Each has an error that says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pg8000.native
import pytest
from statekeep import OutcomeUnknown, PoolTimeout, Storage, Unavailable

from tests.postgres.conftest import Open
from tests.postgres.loads import patiently
from tests.servers.postgres import FAST, PostgresProcess, eventually

OURS = "application_name = 'statekeep' AND backend_type = 'client backend'"


class Call(threading.Thread):
    """A call that goes on beside the test; `result()` waits for it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self._function = function
        self._error: BaseException | None = None
        self._found: Any = None
        self.start()

    def run(self) -> None:
        try:
            self._found = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self.join(30)
        assert not self.is_alive(), "a call hangs"
        if self._error is not None:
            raise self._error
        return self._found


@contextmanager
def locked(server: PostgresProcess, schema: str, key: str) -> Iterator[pg8000.native.Connection]:
    """Another program holds the lock on a value for the length of the block."""
    with server.client() as client:
        client.run("BEGIN")
        client.run(f"SELECT 1 FROM {schema}.key_value_storage WHERE key = :key FOR UPDATE", key=key)
        yield client
        client.run("ROLLBACK")


def waits(server: PostgresProcess, schema: str) -> int:
    """The process of the server that waits for the lock of another program."""

    def found() -> int:
        rows = server.sql(
            f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock' "
            "AND query LIKE :schema",
            schema=f"%{schema}%",
        )
        return int(rows[0][0]) if rows else 0

    return eventually(found, "a call that waits for the lock")


def value(storage: Storage, key: str = "key") -> tuple[bytes, int]:
    entry = patiently(lambda: storage.values.get(key))
    assert entry is not None
    return entry.value, entry.version


def test_idle_connections_that_are_terminated(
    server: PostgresProcess, opened: Open, schema: str
) -> None:
    """pg_terminate_backend between two writes: the next one finds out before it is sent."""
    storage = opened(server)
    version = storage.values.put("key", b"0")
    for number in range(1, 6):
        rows = server.sql(
            f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {OURS} "
            "AND query LIKE :schema",
            schema=f"%{schema}%",
        )
        assert rows, "there was nothing to terminate"
        version = storage.values.put("key", b"%d" % number, expected=version)
    assert value(storage) == (b"5", version)


@pytest.mark.parametrize(
    ("how", "says"),
    [("pg_terminate_backend", "57P01"), ("pg_cancel_backend", "57014.*somebody cancelled it")],
)
def test_a_busy_connection_that_is_ended(
    server: PostgresProcess, opened: Open, schema: str, how: str, says: str
) -> None:
    """In the middle of a write: Unavailable, as nothing was applied; then all works."""
    storage = opened(server)
    version = storage.values.put("key", b"before")
    with locked(server, schema, "key"):
        call = Call(lambda: storage.values.put("key", b"never", expected=version))
        server.sql(f"SELECT {how}({waits(server, schema)})")
        with pytest.raises(Unavailable, match=f"(?s){says}") as caught:
            call.result()
        assert "nothing was applied" in str(caught.value)
    assert value(storage) == (b"before", version)
    assert storage.values.put("key", b"after", expected=version) == version + 1


def test_a_statement_that_takes_too_long(
    server: PostgresProcess, opened: Open, schema: str
) -> None:
    """The server gives it up in time, and says so; the connection goes on being used."""
    storage = opened(server, statement_timeout=300)
    version = storage.values.put("key", b"before")
    with locked(server, schema, "key"):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="statement_timeout"):
            storage.values.put("key", b"never", expected=version)
        with pytest.raises(Unavailable, match="statement_timeout"), storage.transaction() as tx:
            tx.put("key", b"never")
            tx.add("set", b"never")
        assert time.monotonic() - started < 2 * 0.3 + 3
    assert value(storage) == (b"before", version)
    assert storage.sets.members("set") == frozenset()
    assert storage.stats().pool.created == 1


def test_a_pool_that_is_exhausted(server: PostgresProcess, opened: Open, schema: str) -> None:
    """PoolTimeout, with how many are in use and for how long; nothing was sent; then all works."""
    storage = opened(server, maximum_pool_size=2, connection_timeout=300)
    version = storage.values.put("key", b"before")
    with locked(server, schema, "key"):
        calls = [Call(lambda: storage.values.put("key", b"after")) for _ in range(2)]
        eventually(lambda: len(holders(server, schema)) == 2, "two that wait for the lock")
        with pytest.raises(PoolTimeout, match="2 of at most 2 are in use") as caught:
            storage.values.put("key", b"never", expected=version)
        assert "nothing was sent" in str(caught.value)
    for call in calls:
        call.result()
    assert value(storage) == (b"after", version + 2)


def holders(server: PostgresProcess, schema: str) -> list[Any]:
    return server.sql(
        f"SELECT pid FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock' "
        "AND query LIKE :schema",
        schema=f"%{schema}%",
    )


def test_a_server_without_room_for_a_connection(opened: Open, schema: str) -> None:
    """max_connections: a clear error at once, in a pool that has none as in one that has some."""
    with PostgresProcess({**FAST, "max_connections": "6", "max_wal_senders": "0"}) as server:
        storage = opened(server, maximum_pool_size=5, minimum_idle=1)
        version = storage.values.put("key", b"before")
        held = [server.client() for _ in range(5)]
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"(?s)too many clients.*Raise max_connections"):
            opened(server, application_name="other")
        with locked_by(held[0], schema), Cut(storage) as waiting:
            with pytest.raises(Unavailable, match="max_connections"):
                storage.sets.add("set", b"never")
            assert time.monotonic() - started < 5
        assert waiting.result() == version + 1
        storage.sets.add("set", b"member")  # the one connection is free again
        for client in held:
            client.close()
        patiently(lambda: opened(server, application_name="other").values.put("key", b"other"))
        assert storage.sets.members("set") == {b"member"}


@contextmanager
def locked_by(client: pg8000.native.Connection, schema: str) -> Iterator[None]:
    client.run("BEGIN")
    client.run(f"SELECT 1 FROM {schema}.key_value_storage WHERE key = 'key' FOR UPDATE")
    yield
    client.run("ROLLBACK")


class Cut:
    """A put that waits for a lock for the length of the block, in the only connection."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __enter__(self) -> Call:
        call = Call(lambda: self._storage.values.put("key", b"waited"))
        time.sleep(0.3)
        assert call.is_alive()
        return call

    def __exit__(self, *error: object) -> None:
        return None


def test_a_deadlock_with_another_program(
    server: PostgresProcess, opened: Open, schema: str
) -> None:
    """The server picks us as its victim: tried again, and applied once."""
    storage = opened(server)
    first, second = storage.values.put("a", b"0"), storage.values.put("b", b"0")
    with locked(server, schema, "b") as other:

        def both() -> dict[str, int]:
            with storage.transaction() as tx:
                tx.put("a", b"1", expected=first)
                tx.put("b", b"1", expected=second)
            return dict(tx.versions)

        call = Call(both)  # has the lock on a, waits for b
        waits(server, schema)
        before = deadlocks(server)
        other.run(f"SELECT 1 FROM {schema}.key_value_storage WHERE key = 'a' FOR UPDATE")
    assert call.result() == {"a": first + 1, "b": second + 1}
    eventually(lambda: deadlocks(server) > before, "a deadlock, as the server counts them")


def deadlocks(server: PostgresProcess) -> int:
    return int(server.sql("SELECT sum(deadlocks) FROM pg_stat_database")[0][0])


@pytest.mark.parametrize("code", ["40001", "40P01"])
@pytest.mark.parametrize(("failures", "works"), [(3, True), (1000, False)])
def test_failures_that_ask_for_a_repetition(
    server: PostgresProcess, opened: Open, schema: str, code: str, failures: int, works: bool
) -> None:
    """Serialization failures and deadlocks: tried again a few times, and then Unavailable."""
    storage = opened(server)
    version = storage.values.put("key", b"before")
    server.sql(f"CREATE SEQUENCE {schema}.attempts")
    server.sql(
        f"CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('{schema}.attempts') <= {failures} THEN "
        f"RAISE EXCEPTION 'another was first' USING ERRCODE = '{code}'; END IF; "
        "RETURN NEW; END $$"
    )
    server.sql(
        f"CREATE TRIGGER fail BEFORE UPDATE ON {schema}.key_value_storage "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.fail()"
    )
    if works:
        assert storage.values.put("key", b"after", expected=version) == version + 1
        attempts = failures + 1
    else:
        with pytest.raises(Unavailable, match="nothing was applied") as caught:
            storage.values.put("key", b"never", expected=version)
        assert not isinstance(caught.value, OutcomeUnknown) and code in str(caught.value)
        assert value(storage) == (b"before", version)
        attempts = 5
    assert server.sql(f"SELECT last_value FROM {schema}.attempts") == [[attempts]]
