"""The Redis backend beside redis-py by hand and py-key-value-aio, on a server of its own.

Each side uses its own connection to one redis-server without persistence, over loopback: what is
compared is the work of the client and the number of round trips, and the server's work is in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import redis
import statekeep
from key_value.aio.stores.redis import RedisStore
from redis import asyncio as redis_asyncio
from statekeep import Storage

from benchmarks.embedded import hundreds, putter
from benchmarks.harness import Comparison, Side, Workshop, at_most, calls, faster
from benchmarks.machine import apart
from benchmarks.peers import awaits
from benchmarks.workload import (
    ENCODED,
    KEYS,
    MAPPING,
    VALUE,
    conditional,
    fill,
    key,
    picks,
    transaction,
)
from tests.servers.redis import RedisProcess

HOUR = timedelta(hours=1)


def redis_bare(workshop: Workshop) -> Iterator[Comparison]:
    """Beside redis-py's commands: one value, a condition, a transaction."""
    with _served() as (server, storage), server.client() as client:
        fill(storage)
        for number in range(KEYS):
            client.set(key(number), VALUE)
        get = Side("GET", calls(client.get, picks()))
        set_ = Side("SET", calls(_setter(client), picks()))
        yield Comparison(
            "redis get", Side("values.get", calls(storage.values.get, picks())), get, at_most(1.10)
        )
        yield Comparison(
            "redis put", Side("values.put", calls(putter(storage), picks())), set_, at_most(1.10)
        )
        yield Comparison(
            "redis conditional put",
            Side("values.put(expected=...)", calls(conditional(storage), picks())),
            Side("WATCH GET MULTI SET EXEC", calls(_watched(client), picks())),
            faster(2.5),
        )
        yield Comparison(
            "redis transaction of state, tag and timer",
            Side("storage.transaction", calls(transaction(storage), picks())),
            set_,
            at_most(1.3),
        )


def redis_key_value(workshop: Workshop) -> Iterator[Comparison]:
    """Beside py-key-value-aio's Redis store; the values are the same JSON."""
    with _served() as (server, storage), asyncio.Runner() as runner:
        client = redis_asyncio.Redis(host="127.0.0.1", port=server.port, decode_responses=True)
        store: Any = RedisStore(client=client)

        async def put(name: str) -> None:
            await store.put(name, MAPPING)

        async def prepare() -> None:
            for number in range(KEYS):
                await put(key(number))

        fill(storage, KEYS, ENCODED)
        runner.run(prepare())
        values, pair = storage.values, "redis beside py-key-value-aio"
        yield Comparison(
            f"get: {pair}",
            Side("values.get", calls(values.get, picks())),
            Side("await store.get", awaits(runner, store.get, picks())),
            faster(1.4),
        )
        yield Comparison(
            f"put: {pair}",
            Side("values.put", calls(putter(storage, ENCODED), picks())),
            Side("await store.put", awaits(runner, put, picks())),
        )
        yield Comparison(
            f"get_many of 100: {pair}",
            Side("values.get_many", calls(values.get_many, hundreds())),
            Side("await store.get_many", awaits(runner, store.get_many, hundreds())),
            faster(8),
        )
        runner.run(client.aclose())


@contextmanager
def _served() -> Iterator[tuple[RedisProcess, Storage]]:
    with (
        RedisProcess() as server,
        apart(server.pid),
        statekeep.open({"redis": {"host": "127.0.0.1", "port": server.port}}) as storage,
    ):
        yield server, storage


def _setter(client: redis.Redis) -> Callable[[str], Any]:
    set_ = client.set
    return lambda name: set_(name, VALUE)


def _watched(client: redis.Redis) -> Callable[[str], None]:
    """The same as redis-py's guide does it: the value in Redis is what is compared."""

    def watched(name: str) -> None:
        with client.pipeline() as pipe:
            pipe.watch(name)  # type: ignore[no-untyped-call]  # redis-py has no type for it
            if pipe.get(name) != VALUE:
                raise AssertionError("nobody else writes here")
            pipe.multi()
            pipe.set(name, VALUE)
            pipe.execute()

    return watched
