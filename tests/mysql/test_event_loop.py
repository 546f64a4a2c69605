"""Calls that an event loop sends to the server itself, and what stands in their way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from statekeep import InvalidArgument, OutcomeUnknown, Unavailable, VersionConflict, aio
from statekeep.aio import AsyncStorage

from core.tests.gated import at_rest
from tests.aio.encrypted import encrypted_calls
from tests.aio.lanes import handed_to_threads
from tests.mysql.opening import APP
from tests.mysql.test_access import raw
from tests.servers.mysql import FAST, MysqlProcess, eventually

Scenario = Callable[[AsyncStorage], Awaitable[None]]
KEYS = [f"k{n}" for n in range(10)]


def run(server: MysqlProcess, database: str, scenario: Scenario, **options: Any) -> None:
    config = {"host": "127.0.0.1", "port": server.port, "database": database, "minimum_idle": 0}

    async def opened() -> None:
        async with aio.open({"mysql": {**APP, **config, **options}}) as storage:
            await asyncio.gather(*(storage.values.put(key, b"before") for key in KEYS))
            await asyncio.gather(*(storage.values.get(key) for key in KEYS))
            await at_rest(storage)
            await asyncio.wait_for(scenario(storage), 30)

    asyncio.run(opened())


def waiting(server: MysqlProcess) -> list[int]:
    """The sessions of the storage that run a statement now."""
    rows = server.sql(
        "SELECT ID FROM information_schema.PROCESSLIST WHERE USER='app' AND COMMAND='Query'"
    )
    return [row[0] for row in rows]


def test_a_locked_row_holds_up_its_writer_only(server: MysqlProcess, database: str) -> None:
    """Readers and other writers go by; it is written once the row is free."""

    async def scenario(storage: AsyncStorage) -> None:
        version = await storage.values.put("k0", b"before")
        with server.client(database) as client, client.cursor() as cursor:
            client.begin()
            cursor.execute("SELECT 1 FROM key_value_storage WHERE `key`='k0' FOR UPDATE")
            put = asyncio.ensure_future(storage.values.put("k0", b"after", expected=version))
            await asyncio.sleep(0.05)
            assert (await storage.values.get("k0")).version == version  # type: ignore[union-attr]
            assert await storage.values.put("k1", b"after") > 0
            assert not put.done()
            client.rollback()
        assert await put == version + 1

    run(server, database, scenario)


def test_a_deadlock_is_tried_again(server: MysqlProcess, database: str) -> None:
    """By a thread; the connection it happened on is as good as before."""

    async def scenario(storage: AsyncStorage) -> None:
        with server.client(database) as client, client.cursor() as cursor:
            client.begin()
            cursor.execute("UPDATE key_value_storage SET expires=NULL, value='' WHERE `key`='k9'")
            cursor.execute(  # weighs more than the other: the server gives up the lighter one
                "INSERT INTO key_set_storage SELECT 'other', seq FROM seq_1_to_1000"
            )

            async def unit() -> None:
                async with storage.transaction() as tx:
                    tx.put("k0", b"after")
                    tx.delete("k9")

            before = raw(storage)._database.pool.counters()
            with handed_to_threads() as handed:
                task = asyncio.ensure_future(unit())
                deadline = time.monotonic() + 10
                while not waiting(server):
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                assert handed == []
                cursor.execute("SELECT 1 FROM key_value_storage WHERE `key`='k0' FOR UPDATE")
                await asyncio.sleep(0.05)
                client.commit()
                await task
                assert handed == ["Writes"]
            assert raw(storage)._database.pool.counters().closed == before.closed
        assert await storage.values.get("k9") is None

    run(server, database, scenario)


@pytest.mark.parametrize("what", ["QUERY", "CONNECTION"])
def test_a_write_that_somebody_kills(server: MysqlProcess, database: str, what: str) -> None:
    """Its statement: nothing was applied. Its connection: nobody knows. The next one goes on."""

    async def scenario(storage: AsyncStorage) -> None:
        version = await storage.values.put("k0", b"before")
        with server.client(database) as client, client.cursor() as cursor:
            client.begin()
            cursor.execute("SELECT 1 FROM key_value_storage WHERE `key`='k0' FOR UPDATE")
            put = asyncio.ensure_future(storage.values.put("k0", b"after", expected=version))
            (session,) = await asyncio.to_thread(eventually, lambda: waiting(server), "a write")
            server.sql(f"KILL HARD {what} {session}")
            (told,) = await asyncio.gather(put, return_exceptions=True)
            client.rollback()
        assert isinstance(told, OutcomeUnknown if what == "CONNECTION" else Unavailable), told
        assert await storage.values.put("k0", b"next", expected=version) == version + 1

    run(server, database, scenario)


def test_a_value_too_large_fails_its_own_writer(database: str) -> None:
    """The server takes a mebibyte in a packet; neighbours in the same batch are written."""

    async def scenario(storage: AsyncStorage) -> None:
        sizes = {f"s{n}": 600_000 if n == 7 else 10 for n in range(12)}
        puts = [storage.values.put(key, bytes(size)) for key, size in sizes.items()]
        told = await asyncio.gather(*puts, return_exceptions=True)
        assert [n for n, each in enumerate(told) if isinstance(each, InvalidArgument)] == [7]
        assert len(await storage.values.get_many(list(sizes))) == 11

    with MysqlProcess({**FAST, "max_allowed_packet": "1M"}) as server:
        run(server, database, scenario)


def test_a_node_of_a_cluster_gets_its_transactions_from_threads(
    server: MysqlProcess, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are sent statement by statement there; reads and single puts need no thread."""

    async def scenario(storage: AsyncStorage) -> None:
        version = await storage.values.put("k0", b"before")
        await storage.values.put("k1", b"before")
        with handed_to_threads() as handed:
            version = await storage.values.put("k0", b"after", expected=version)
            assert (await storage.values.get("k0")).version == version  # type: ignore[union-attr]
            assert handed == []
            with pytest.raises(VersionConflict):
                await storage.values.put("k0", b"never", expected=version - 1)
            assert handed == ["Writes"]

    always = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr("statekeep_mysql.driver.Connection.one_by_one", always, raising=False)
    run(server, database, scenario)


def test_tls(secure: MysqlProcess, database: str) -> None:
    """Many records, batches, conflicts: without a thread once a connection is open."""
    where = {"host": "127.0.0.1", "port": secure.port, "database": database}
    asyncio.run(
        encrypted_calls({"mysql": {**APP, **where, "ssl_mode": "required", "minimum_idle": 0}})
    )
