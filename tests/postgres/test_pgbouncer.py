"""Behind PgBouncer in transaction mode, on connections that change hands between transactions.

That the whole contract holds there too is tested in plugins/postgres/tests/test_conformance.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from statekeep import Unavailable

from tests.postgres.conftest import Open
from tests.postgres.loads import Load, patiently
from tests.servers.postgres import Bouncer, PostgresProcess


@pytest.fixture(scope="module")
def bouncer(server: PostgresProcess) -> Iterator[Bouncer]:
    """Three connections to the server, for however many clients."""
    with Bouncer(server) as bouncer:
        yield bouncer


def behind(bouncer: Bouncer) -> dict[str, object]:
    return {"host": "127.0.0.1", "port": bouncer.port, "prepared_statements": False}


def test_more_clients_than_connections(
    bouncer: Bouncer, server: PostgresProcess, opened: Open, schema: str
) -> None:
    """Eight threads on three connections of the server: no statement meets another's."""
    storage = opened(**behind(bouncer), maximum_pool_size=8)
    errors: list[BaseException] = []

    def count(key: str) -> None:
        try:
            for _ in range(25):
                storage.values.update(key, lambda value: b"%d" % (int(value or b"0") + 1))
                storage.sets.add(key, key.encode())
                storage.deferred.schedule(key, "id", due=timedelta(hours=1))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=count, args=(f"key{n % 4}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors, errors
    found = storage.values.get_many([f"key{n}" for n in range(4)])
    assert {entry.value for entry in found.values()} == {b"50"} and len(found) == 4
    assert storage.stats().pool.in_use <= 8
    ((left,),) = server.sql("SELECT count(*) FROM pg_prepared_statements")
    assert left == 0


def test_prepared_statements_are_explained(bouncer: Bouncer, opened: Open) -> None:
    """Without the option PgBouncer refuses, or statements get lost: the error names the option."""
    with pytest.raises(Unavailable, match="prepared_statements = false"):
        storage = opened(**{**behind(bouncer), "prepared_statements": True})
        for number in range(50):
            storage.values.put(f"key{number}", b"")


def test_a_statement_that_takes_too_long(
    bouncer: Bouncer, server: PostgresProcess, opened: Open, schema: str
) -> None:
    """The time limit goes along with each statement, as there is no session to set it in."""
    storage = opened(**behind(bouncer), statement_timeout=300)
    version = storage.values.put("key", b"before")
    with server.client() as other:
        other.run("BEGIN")
        other.run(f"SELECT 1 FROM {schema}.key_value_storage FOR UPDATE")
        with pytest.raises(Unavailable, match="statement_timeout"):
            storage.values.put("key", b"never", expected=version)
    assert storage.values.put("key", b"after", expected=version) == version + 1
    ((limit,),) = server.sql("SHOW statement_timeout")
    assert limit == "0"


def test_a_server_that_restarts_behind_it(opened: Open, schema: str) -> None:
    """Killed under load: what was acknowledged is there, once, and the writers go on."""
    with PostgresProcess() as server, Bouncer(server) as bouncer:
        options = {**behind(bouncer), "schema": schema}
        storage = opened(**options)
        with Load(options) as load:
            load.progress(10)
            server.stop()
            server.start()
            load.progress(10, 60)
        patiently(storage.ping)
        load.verify(storage)
