"""The comparisons, store by store."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

import asyncmy
import asyncpg  # type: ignore[import-untyped]  # it has no type hints
from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore
from key_value.aio.stores.postgresql import PostgreSQLStore
from key_value.aio.stores.redis import RedisStore
from psycopg_pool import AsyncConnectionPool
from redis import asyncio as redis_asyncio
from statekeep import aio
from statekeep.aio import AsyncStorage

from benchmarks.aio.client import POOL, Client, KeyValue, Ours, Threads
from benchmarks.aio.drivers import Asyncmy, Asyncpg, Psycopg, Redis, Watching
from benchmarks.aio.loads import Load, compare, unconditional, versioned
from benchmarks.harness import Comparison, Workshop
from benchmarks.servers import INSTALL, MISSING
from benchmarks.workload import picks
from tests.servers.redis import RedisProcess

POOL_SECONDS = 60.0
"""How long a thousand tasks may wait for psycopg's ten connections."""


class Arena:
    """A storage of ours in an event loop, and the loads on it beside what else there is."""

    def __init__(
        self, workshop: Workshop, runner: asyncio.Runner, store: str, storage: AsyncStorage
    ) -> None:
        self._workshop = workshop
        self._runner = runner
        self._store = store
        self.storage = storage
        self.ours = Ours(storage)

    def beside(
        self, theirs: Client, *, reads: float | None = None, writes: float | None = None
    ) -> Iterator[Comparison]:
        """Everything, with an alternative that has versions."""
        return self.compare(theirs, versioned(self.ours, theirs, reads=reads, writes=writes))

    def beside_key_value(self, store: Any) -> Iterator[Comparison]:
        """What py-key-value-aio can do."""
        theirs = KeyValue(store)
        return self.compare(theirs, unconditional(self.ours, theirs))

    def compare(self, theirs: Client | KeyValue, loads: list[Load]) -> Iterator[Comparison]:
        """Some loads."""
        self._runner.run(self.ours.fill())  # anew: it knows the versions of its own writes only
        self._runner.run(theirs.fill())
        labels = (self.ours.label, theirs.label)
        return compare(self._workshop, self._runner, self._store, labels, loads)


def redis_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside redis.asyncio and py-key-value-aio."""
    with RedisProcess() as server, asyncio.Runner() as runner:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": server.port}
        theirs, watching = Redis(server.port), Watching(server.port)
        with arena(workshop, runner, "redis", {"redis": where}) as ours:
            yield from ours.beside(theirs, reads=8, writes=5)
            put = Load("conditional put", ours.ours.write, watching.write, picks(), [100])
            yield from ours.compare(watching, [put])
            client = redis_asyncio.Redis(**where, decode_responses=True, max_connections=2000)
            yield from ours.beside_key_value(RedisStore(client=client))
            runner.run(client.aclose())
        for each in (theirs, watching):
            runner.run(each.client.aclose())


def postgres_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside asyncpg, psycopg and py-key-value-aio; nothing where PostgreSQL is missing."""
    if not _installed("initdb"):
        return
    module = import_module("tests.servers.postgres")
    with module.PostgresProcess(module.SAFE) as server, asyncio.Runner() as runner:
        where: dict[str, Any] = {"host": "127.0.0.1", "port": server.port}
        login = {**where, "user": "postgres", "database": "postgres"}
        with arena(workshop, runner, "postgres", {"postgres": where}) as ours:
            pool = runner.run(_asyncpg_pool(login))
            yield from ours.beside(Asyncpg(pool), reads=8, writes=4)
            with warnings.catch_warnings():  # it calls itself unstable
                warnings.simplefilter("ignore", UserWarning)
                store = PostgreSQLStore(pool=pool)
            yield from ours.beside_key_value(store)
            runner.run(pool.close())
            other = runner.run(_psycopg_pool(login))
            yield from ours.beside(Psycopg(other))
            runner.run(other.close())


def mysql_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside asyncmy; nothing where MariaDB is missing."""
    if not _installed("mariadbd"):
        return
    module = import_module("tests.servers.mysql")
    with module.MysqlProcess(module.SAFE) as server, asyncio.Runner() as runner:
        server.sql("CREATE USER 'plain'@'%' IDENTIFIED BY 'x'")  # asyncmy knows Latin-1 only
        server.sql("GRANT ALL ON *.* TO 'plain'@'%'")
        where: dict[str, Any] = {"host": "127.0.0.1", "port": server.port}
        config = {**where, "username": "plain", "password": "x", "ssl_mode": "disabled"}
        with arena(workshop, runner, "mysql", {"mysql": config}) as ours:
            login = {**where, "user": "plain", "password": "x", "db": "infinitic"}
            pool = runner.run(_asyncmy_pool(login))
            yield from ours.beside(Asyncmy(pool))
            pool.close()
            runner.run(pool.wait_closed())


def sqlite_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside a thread for each call, and py-key-value-aio's store on disk."""
    folder = workshop.folder_for("aio-sqlite")
    config = {"sqlite": {"path": str(folder / "state.db")}}
    with asyncio.Runner() as runner, arena(workshop, runner, "sqlite", config) as ours:
        yield from ours.beside(Threads(ours.storage))
        store = DiskStore(directory=folder / "theirs")
        yield from ours.beside_key_value(store)
        runner.run(store.close())


def memory_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside py-key-value-aio's store in memory."""
    with asyncio.Runner() as runner, arena(workshop, runner, "memory", {"memory": {}}) as ours:
        yield from ours.beside_key_value(MemoryStore())


@contextmanager
def arena(
    workshop: Workshop, runner: asyncio.Runner, store: str, config: Mapping[str, Any]
) -> Iterator[Arena]:
    """A storage that is opened and closed in the runner's loop."""

    async def enter() -> AsyncStorage:
        return await aio.open(config)

    with ExitStack() as stack:
        storage = runner.run(enter())
        stack.callback(lambda: runner.run(storage.close()))
        yield Arena(workshop, runner, store, storage)


async def _asyncpg_pool(login: Mapping[str, Any]) -> Any:
    return await asyncpg.create_pool(**login, min_size=POOL, max_size=POOL)


async def _psycopg_pool(login: Mapping[str, Any]) -> AsyncConnectionPool[Any]:
    options = {**login, "dbname": login["database"], "autocommit": True, "prepare_threshold": 0}
    del options["database"]
    pool = AsyncConnectionPool(
        kwargs=options, min_size=POOL, max_size=POOL, timeout=POOL_SECONDS, open=False
    )
    await pool.open(wait=True)
    return pool


async def _asyncmy_pool(login: Mapping[str, Any]) -> Any:
    return await asyncmy.create_pool(**login, autocommit=True, minsize=POOL, maxsize=POOL)


def _installed(program: str) -> bool:
    try:
        INSTALL.find(program)
    except MISSING:
        return False
    return True
