"""Calls that the event loop sent itself, and servers that stop, hang up, forget or refuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import statekeep
from statekeep import OutcomeUnknown, Unavailable, aio
from statekeep.aio import AsyncStorage, may_have_happened

from tests.aio.conftest import Config
from tests.aio.load import Load
from tests.mysql.opening import APP
from tests.servers.mysql import MysqlProcess
from tests.servers.postgres import FAST, PostgresProcess
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisProcess

TIMEOUT = 0.8
"""Seconds that an answer may take in these tests."""

SERVERS: dict[str, Any] = {
    "redis": RedisProcess, "postgres": PostgresProcess, "mysql": MysqlProcess,
}  # fmt: skip


class Victim:
    """A server to be harmed, and how to reach it."""

    def __init__(self, name: str, server: Any) -> None:
        self.name = name
        self.server = server

    def config(self, port: int | None = None) -> Config:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": port or self.server.port}
        if self.name == "redis":
            return {"redis": {**where, "timeout": int(TIMEOUT * 1000)}}
        if self.name == "mysql":
            limits = {"statement_timeout": int(TIMEOUT * 500), "lock_timeout": int(TIMEOUT * 500)}
            return {"mysql": {**APP, **where, "minimum_idle": 0, "connect_timeout": 500, **limits}}
        return {"postgres": {**where, "minimum_idle": 0, "connect_timeout": 500,
                             "statement_timeout": int(TIMEOUT * 500)}}  # fmt: skip

    def hang_up(self) -> None:
        """The server closes all connections of clients."""
        if self.name == "redis":
            self.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        elif self.name == "mysql":
            self.server.sql("KILL HARD USER app")
        else:
            self.server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'statekeep'"
            )


@pytest.fixture(params=SERVERS)
def victim(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Victim]:
    monkeypatch.setattr("statekeep_postgres.driver.GRACE", TIMEOUT / 2)
    monkeypatch.setattr("statekeep_mysql.dialer.GRACE", TIMEOUT / 2)
    with SERVERS[request.param]() as server:
        yield Victim(request.param, server)


async def warm(storage: AsyncStorage) -> int:
    """Opens connections, and has the server learn what it will be asked; the version of k."""
    for _ in range(3):
        puts = [storage.values.put(f"warm{number}", b"") for number in range(4)]
        await asyncio.gather(storage.values.put("k", b"before"), *puts)
        await asyncio.gather(storage.values.get("k"), *(storage.sets.members("s") for _ in "ab"))
    version = await storage.values.put("k", b"before")
    return await storage.values.put("k", b"before", expected=version)


async def settled(storage: AsyncStorage) -> Any:
    """The entry of k, as soon as the server answers again."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await storage.values.get("k")
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def test_a_frozen_server_is_noticed_once(victim: Victim) -> None:
    """SIGSTOP: a read is unavailable and a write unknown after the timeout, not after two of it."""

    async def scenario() -> None:
        async with aio.open(victim.config()) as storage:
            version = await warm(storage)
            victim.server.freeze()
            try:
                began = time.monotonic()
                found = await asyncio.gather(
                    storage.values.get("k"),
                    storage.values.put("k", b"after", expected=version),
                    return_exceptions=True,
                )
                assert [type(each) for each in found] == [Unavailable, OutcomeUnknown], found
                assert may_have_happened(found[1])  # type: ignore[arg-type]
                assert time.monotonic() - began < 1.7 * TIMEOUT
            finally:
                victim.server.thaw()
            entry = await settled(storage)
            assert (entry.value, entry.version - version) in [(b"before", 0), (b"after", 1)]
            assert await storage.values.put("k", b"next", expected=entry.version) > entry.version

    asyncio.run(scenario())


def test_connections_that_the_server_closed_between_calls(victim: Victim) -> None:
    """Nobody notices, neither a read nor a write, alone or together."""

    async def scenario() -> None:
        async with aio.open(victim.config()) as storage:
            version = await warm(storage)
            for number in range(6):
                await asyncio.to_thread(victim.hang_up)
                await asyncio.sleep(0.05)  # its goodbye is on the way
                if number % 2:
                    assert (await storage.values.get("k")).version == version  # type: ignore[union-attr]
                else:
                    version = await storage.values.put("k", b"%d" % number, expected=version)
                await asyncio.gather(*(storage.values.put(f"n{n}", b"") for n in range(5)))

    asyncio.run(scenario())


def test_counting_while_connections_are_cut(victim: Victim) -> None:
    """Whatever was cut, nothing is lost nor made twice, and nobody is told otherwise."""

    async def scenario(proxy: Proxy) -> Load:
        async with aio.open(victim.config(proxy.port)) as storage:
            async with Load(storage, 10) as load:
                begun = time.monotonic()
                while (so_far := time.monotonic() - begun) < 2.0 or not load.uncounted.total():
                    assert so_far < 20.0, "no answer was cut"
                    await asyncio.sleep(0.03)
                    proxy.cut_answers = not proxy.cut_answers
                    proxy.cut()
                proxy.cut_answers = False
            await settled(storage)
            return load

    with Proxy(victim.server.address) as proxy:
        load = asyncio.run(scenario(proxy))
    with statekeep.open(victim.config()) as checking:
        load.verify(checking)
    assert load.counted.total() > 20


def test_a_redis_that_forgets_its_scripts() -> None:
    """`SCRIPT FLUSH` before every write, alone and together: they are applied, once each."""

    async def scenario(server: RedisProcess) -> None:
        async with aio.open({"redis": {"host": "127.0.0.1", "port": server.port}}) as storage:
            version = await warm(storage)
            versions = [await storage.values.put(f"n{n}", b"0") for n in range(40)]
            for number in range(3):
                server.command("SCRIPT", "FLUSH")
                version = await storage.values.put("k", b"%d" % number, expected=version)
                server.command("SCRIPT", "FLUSH")
                puts = [storage.values.put(f"n{n}", b"1", expected=versions[n]) for n in range(40)]
                new = await asyncio.gather(
                    *puts, storage.values.put(f"more{number}", b"", expected=0)
                )
                assert [b - a for a, b in zip(versions, new, strict=False)] == [1] * 40
                versions = new[:40]

    with RedisProcess() as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize("harm", ["full", "demoted"])
def test_a_redis_that_takes_no_writes(harm: str) -> None:
    """Its memory is full, or it became a replica: each writer is told, and reads go on."""

    async def scenario(server: RedisProcess) -> None:
        config = {"redis": {"host": "127.0.0.1", "port": server.port, "timeout": 2000}}
        async with aio.open(config) as storage:
            version = await warm(storage)
            versions = [await storage.values.put(f"n{n}", b"0") for n in range(10)]
            if harm == "full":
                server.command("CONFIG", "SET", "maxmemory", "1")
            else:
                server.command("REPLICAOF", "127.0.0.1", "1")
            one = storage.values.put("k", b"never", expected=version)
            many = [storage.values.put(f"n{n}", b"1", expected=versions[n]) for n in range(10)]
            with pytest.raises(Unavailable, match="nothing was written"):
                await one
            for each in await asyncio.gather(*many, return_exceptions=True):
                assert isinstance(each, Unavailable)
            assert (await storage.values.get("k")).value == b"before"  # type: ignore[union-attr]
            server.command("CONFIG", "SET", "maxmemory", "0")
            server.command("REPLICAOF", "NO", "ONE")
            assert await storage.values.put("k", b"after", expected=version) == version + 1
            assert await storage.values.put("n0", b"1", expected=versions[0]) == versions[0] + 1

    with RedisProcess() as server:
        asyncio.run(scenario(server))


def test_a_postgres_that_refuses_or_waits() -> None:
    """A locked row makes a writer wait no longer than the time limit; a reader does not wait."""

    async def scenario(server: PostgresProcess) -> None:
        config = {"postgres": {"host": "127.0.0.1", "port": server.port, "statement_timeout": 1000}}
        async with aio.open(config) as storage:
            version = await warm(storage)
            with server.client() as client:
                client.run("BEGIN")
                client.run("SELECT 1 FROM infinitic.key_value_storage WHERE key = 'k' FOR UPDATE")
                began = time.monotonic()
                put = asyncio.ensure_future(storage.values.put("k", b"never", expected=version))
                assert (await storage.values.get("k")).version == version  # type: ignore[union-attr]
                assert await storage.values.put("other", b"") > 0
                with pytest.raises(Unavailable, match="nothing was applied"):
                    await put
                assert time.monotonic() - began < 1.8, "it waited twice"
                client.run("ROLLBACK")
            assert await storage.values.put("k", b"after", expected=version) == version + 1

    with PostgresProcess(FAST) as server:
        asyncio.run(scenario(server))
