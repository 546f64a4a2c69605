"""Asynchronous drivers, each used call by call as its own guide says."""

from __future__ import annotations

from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no type hints
from asyncmy.pool import Pool as AsyncmyPool
from psycopg_pool import AsyncConnectionPool
from redis import asyncio as redis_asyncio

from benchmarks.aio.client import Client, Conflict
from benchmarks.workload import KEYS, VALUE, key

CAS = """
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return -1 end
redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'value', ARGV[2])
return ARGV[1] + 1
"""


class Redis(Client):
    """redis.asyncio, a connection for every task that needs one."""

    label = "redis.asyncio"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.client = redis_asyncio.Redis(host="127.0.0.1", port=port, max_connections=2000)
        self._cas = self.client.register_script(CAS)

    async def fill(self) -> None:
        """The reads are of plain values, the writes of versioned ones."""
        for number in range(KEYS):
            await self.client.set(f"plain/{key(number)}", VALUE)
            self.versions[key(number)] = await self.put(key(number), 0)

    async def read(self, task: int, name: str) -> None:
        """A plain GET: the least that a read can be."""
        await self.client.get(f"plain/{name}")

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        version, _ = await self.client.hmget(f"bare/{name}", ["version", "value"])
        return int(version or 0)

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        written = await self._cas(keys=[f"bare/{name}"], args=[version, VALUE])
        if int(written) < 0:
            raise Conflict
        return int(written)


class Watching(Redis):
    """redis.asyncio as its guide compares and sets: WATCH, MULTI, EXEC."""

    label = "redis.asyncio, WATCH"

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        where = f"watched/{name}"
        async with self.client.pipeline() as pipe:
            await pipe.watch(where)
            found = await pipe.hget(where, "version")
            if int(found or 0) != version:
                raise Conflict
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.hset(where, mapping={"version": version + 1, "value": VALUE})
            await pipe.execute()
        return version + 1


class Asyncpg(Client):
    """asyncpg's pool."""

    label = "asyncpg pool"

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__()
        self._pool = pool

    async def fill(self) -> None:
        """See `Client.fill`."""
        await self._pool.execute(
            "CREATE TABLE asyncpg (key text PRIMARY KEY, version bigint NOT NULL, value bytea)"
        )
        rows = [(key(number), 1, VALUE) for number in range(KEYS)]
        await self._pool.executemany("INSERT INTO asyncpg VALUES ($1, $2, $3)", rows)
        self.versions = {name: version for name, version, _ in rows}

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        row = await self._pool.fetchrow("SELECT version, value FROM asyncpg WHERE key = $1", name)
        version: int = row["version"]
        return version

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        written: int | None = await self._pool.fetchval(
            "UPDATE asyncpg SET version = version + 1, value = $3 "
            "WHERE key = $1 AND version = $2 RETURNING version",
            name,
            version,
            VALUE,
        )
        if written is None:
            raise Conflict
        return written


class Psycopg(Client):
    """psycopg_pool's pool of autocommitting connections; values travel as binary."""

    label = "psycopg pool"

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        super().__init__()
        self._pool = pool

    async def fill(self) -> None:
        """See `Client.fill`."""
        rows = [(key(number), 1, VALUE) for number in range(KEYS)]
        async with self._pool.connection() as connection:
            await connection.execute(
                "CREATE TABLE psycopg (key text PRIMARY KEY, version bigint NOT NULL, value bytea)"
            )
            cursor = connection.cursor()
            await cursor.executemany("INSERT INTO psycopg VALUES (%s, %s, %s)", rows)
        self.versions = {name: version for name, version, _ in rows}

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        row = await self._row("SELECT version, value FROM psycopg WHERE key = %s", (name,))
        assert row is not None
        version: int = row[0]
        return version

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        row = await self._row(
            "UPDATE psycopg SET version = version + 1, value = %s "
            "WHERE key = %s AND version = %s RETURNING version",
            (VALUE, name, version),
        )
        if row is None:
            raise Conflict
        return int(row[0])

    async def _row(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(sql, parameters, prepare=True, binary=True)
            return await cursor.fetchone()


class Asyncmy(Client):
    """asyncmy's pool."""

    label = "asyncmy pool"

    def __init__(self, pool: AsyncmyPool) -> None:
        super().__init__()
        self._pool = pool

    async def fill(self) -> None:
        """See `Client.fill`."""
        rows = [(key(number), 1, VALUE) for number in range(KEYS)]
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(
                "CREATE TABLE asyncmy (`key` VARBINARY(1024) PRIMARY KEY, version BIGINT NOT NULL, "
                "value LONGBLOB NOT NULL)"
            )
            await cursor.executemany("INSERT INTO asyncmy VALUES (%s, %s, %s)", rows)
        self.versions = {name: version for name, version, _ in rows}

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT version, value FROM asyncmy WHERE `key` = %s", (name,))
            version: int = (await cursor.fetchone())[0]
            return version

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        async with self._pool.acquire() as connection, connection.cursor() as cursor:
            written = await cursor.execute(
                "UPDATE asyncmy SET version = version + 1, value = %s "
                "WHERE `key` = %s AND version = %s",
                (VALUE, name, version),
            )
        if not written:
            raise Conflict
        return version + 1
