"""Many tasks on one storage, beside asynchronous drivers used call by call, on servers of its own.

A round is so many calls, spread evenly over the tasks; all tasks run in one event loop, and both
sides in the same one. What a driver needs for the same promise is done in one round trip: a
version beside the value, compared by a script in Redis and by the WHERE of an UPDATE in
PostgreSQL. PostgreSQL waits for its disk at every commit, on both sides.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import cycle, islice
from statistics import quantiles
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no type hints
from redis import asyncio as redis_asyncio
from statekeep import VersionConflict, aio
from statekeep.aio import AsyncStorage

from benchmarks.harness import Bar, Comparison, Repeat, Side, Workshop, at_most, faster
from benchmarks.servers import INSTALL, MISSING
from benchmarks.workload import KEYS, VALUE, key, picks
from tests.servers.redis import RedisProcess

TASKS = (1, 10, 100, 1000)
LEAST = 4
"""Calls of each task in a round, at least: so that starting the tasks is not what is measured."""

ZIPF = 0.99
"""The exponent of YCSB's zipfian choice of keys."""

WRITES = 0.1
"""Of the mixed load. YCSB's B has 0.05, but half of 10 % is too few to see."""

CAS = """
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return -1 end
redis.call('HSET', KEYS[1], 'version', ARGV[1] + 1, 'value', ARGV[2])
return ARGV[1] + 1
"""

TABLE = "CREATE TABLE bare (key text PRIMARY KEY, version bigint NOT NULL, value bytea NOT NULL)"
SELECT = "SELECT version, value FROM bare WHERE key = $1"
UPDATE = """
    UPDATE bare SET version = version + 1, value = $3 WHERE key = $1 AND version = $2
    RETURNING version
"""

One = Callable[[int, str], Awaitable[Any]]
"""What a task does again and again: given its number and a key."""


class Conflict(Exception):
    """Another writer came first."""


class Client(ABC):
    """A way to the store."""

    label: str

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}

    @abstractmethod
    async def get(self, name: str) -> int:
        """Reads a value; its version."""

    @abstractmethod
    async def put(self, name: str, version: int) -> int:
        """Writes the value, if it is at this version; the new version."""

    async def read(self, task: int, name: str) -> None:
        """A read of the key."""
        await self.get(name)

    async def write(self, task: int, name: str) -> None:
        """A conditional write of the task's own key."""
        own = key(task)
        self.versions[own] = await self.put(own, self.versions[own])

    async def mixed(self, task: int, name: str) -> None:
        """One write of the task's own key for nine reads."""
        await (self.write if random.random() < WRITES else self.read)(task, name)

    async def change(self, task: int, name: str) -> None:
        """Read, change, write; again after a conflict."""
        while True:
            try:
                await self.put(name, await self.get(name))
                return
            except Conflict:
                continue


class Ours(Client):
    """`statekeep.aio`."""

    label = "statekeep.aio"

    def __init__(self, storage: AsyncStorage) -> None:
        super().__init__()
        self._values = storage.values

    async def fill(self) -> None:
        """Puts a value under every key."""
        self.versions = await self._values.put_many({key(n): VALUE for n in range(KEYS)})

    async def read(self, task: int, name: str) -> None:
        """See `Client.read`."""
        await self._values.get(name)

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        entry = await self._values.get(name)
        assert entry is not None
        return entry.version

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        try:
            return await self._values.put(name, VALUE, expected=version)
        except VersionConflict:
            raise Conflict from None


class Redis(Client):
    """redis.asyncio, a connection for every task that needs one."""

    label = "redis.asyncio"

    def __init__(self, port: int) -> None:
        super().__init__()
        self.client = redis_asyncio.Redis(host="127.0.0.1", port=port, max_connections=2000)
        self._cas = self.client.register_script(CAS)

    async def fill(self) -> None:
        """Puts a value under every key: the reads are of plain ones, the writes of versioned."""
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


class Postgres(Client):
    """asyncpg's pool of ten connections, as many as ours has."""

    label = "asyncpg pool"

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self._pool = pool

    async def fill(self) -> None:
        """Puts a value under every key."""
        await self._pool.execute(TABLE)
        rows = [(key(number), 1, VALUE) for number in range(KEYS)]
        await self._pool.executemany("INSERT INTO bare VALUES ($1, $2, $3)", rows)
        self.versions = {name: version for name, version, _ in rows}

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        row = await self._pool.fetchrow(SELECT, name)
        version: int = row["version"]
        return version

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        written: int | None = await self._pool.fetchval(UPDATE, name, version, VALUE)
        if written is None:
            raise Conflict
        return written


class Threads(Client):
    """The same storage without batching: each call in a thread of the loop's own pool."""

    label = "asyncio.to_thread"

    def __init__(self, storage: AsyncStorage) -> None:
        super().__init__()
        from statekeep import Storage

        self._values = Storage(storage.backend).values

    async def fill(self) -> None:
        """Puts a value under every key."""
        mapping = {f"theirs/{key(n)}": VALUE for n in range(KEYS)}
        versions = await asyncio.to_thread(self._values.put_many, mapping)
        self.versions = {name.removeprefix("theirs/"): v for name, v in versions.items()}

    async def get(self, name: str) -> int:
        """See `Client.get`."""
        entry = await asyncio.to_thread(self._values.get, f"theirs/{name}")
        assert entry is not None
        return entry.version

    async def put(self, name: str, version: int) -> int:
        """See `Client.put`."""
        try:
            return await asyncio.to_thread(
                self._values.put, f"theirs/{name}", VALUE, expected=version
            )
        except VersionConflict:
            raise Conflict from None


def redis_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside redis.asyncio."""
    with RedisProcess() as server, asyncio.Runner() as runner:
        where = {"redis": {"host": "127.0.0.1", "port": server.port}}
        theirs, watching = Redis(server.port), Watching(server.port)
        with opened(runner, where) as ours:
            for each in (ours, theirs, watching):
                runner.run(each.fill())
            yield _row(workshop, runner, "redis conditional put", 100, ours, watching, "write")
            yield from _compare(workshop, runner, "redis", ours, theirs, 5)
        runner.run(theirs.client.aclose())
        runner.run(watching.client.aclose())


def postgres_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside asyncpg's pool; nothing where PostgreSQL is not installed."""
    try:
        INSTALL.find("initdb")
    except MISSING:
        return
    module = import_module("tests.servers.postgres")
    with module.PostgresProcess(module.SAFE) as server, asyncio.Runner() as runner:
        where = {"host": "127.0.0.1", "port": server.port}

        async def connect() -> Any:
            login = {**where, "user": "postgres", "database": "postgres"}
            return await asyncpg.create_pool(**login, min_size=10, max_size=10)

        pool = runner.run(connect())
        theirs = Postgres(pool)
        with opened(runner, {"postgres": where}) as ours:
            for each in (ours, theirs):
                runner.run(each.fill())
            yield from _compare(workshop, runner, "postgres", ours, theirs, 4)
        runner.run(pool.close())


def sqlite_tasks(workshop: Workshop) -> Iterator[Comparison]:
    """Beside a thread for each call; every commit waits for the disk."""
    path = str(workshop.folder_for("aio-sqlite") / "state.db")
    with asyncio.Runner() as runner, _storage(runner, {"sqlite": {"path": path}}) as storage:
        ours, theirs = Ours(storage), Threads(storage)
        for each in (ours, theirs):
            runner.run(each.fill())
        yield from _compare(workshop, runner, "sqlite", ours, theirs, None)


@contextmanager
def opened(runner: asyncio.Runner, config: Mapping[str, Any]) -> Iterator[Ours]:
    """A storage in the runner's loop."""
    with _storage(runner, config) as storage:
        yield Ours(storage)


@contextmanager
def _storage(runner: asyncio.Runner, config: Mapping[str, Any]) -> Iterator[AsyncStorage]:
    async def enter() -> AsyncStorage:
        return await aio.open(config)

    with ExitStack() as stack:
        storage = runner.run(enter())
        stack.callback(lambda: runner.run(storage.close()))
        yield storage


def _compare(
    workshop: Workshop,
    runner: asyncio.Runner,
    store: str,
    ours: Client,
    theirs: Client,
    writes: float | None,
) -> Iterator[Comparison]:
    for tasks in TASKS if workshop.plan.warm_up else TASKS[::2]:
        bars: dict[str, Bar | None] = {"read": None, "write": None}
        if writes is not None and tasks == 1:
            bars = {"read": at_most(1.6), "write": at_most(1.6)}
        if writes is not None and tasks == 100:
            bars = {"read": faster(8), "write": faster(writes)}
        for what, text in (("read", "get"), ("write", "conditional put")):
            name = f"{store} {text}"
            yield _row(workshop, runner, name, tasks, ours, theirs, what, bars[what])
    for what, text in (("mixed", "90 % get, 10 % put, zipfian"), ("change", "read-modify-write")):
        yield _row(workshop, runner, f"{store} {text}", 100, ours, theirs, what)


def _row(
    workshop: Workshop,
    runner: asyncio.Runner,
    name: str,
    tasks: int,
    ours: Client,
    theirs: Client,
    what: str,
    bar: Bar | None = None,
) -> Comparison:
    names = zipfian() if what == "mixed" else picks()
    sides = [
        Side(each.label, repeated(runner, getattr(each, what), tasks, names))
        for each in (ours, theirs)
    ]
    quick = workshop.plan.warm_up == 0
    seconds = 0.01 if quick else 0.4
    told = [_told(runner, getattr(each, what), tasks, names, seconds) for each in (ours, theirs)]
    note = f"p50/p99/CPU {told[0]} beside {told[1]}"
    plural = "task" if tasks == 1 else "tasks"
    title = f"{name}, {tasks} {plural}, beside {theirs.label}"
    return Comparison(title, sides[0], sides[1], bar, note, long=True)


def repeated(runner: asyncio.Runner, one: One, tasks: int, names: list[str]) -> Repeat:
    """Calls by so many tasks at once; fewer than `LEAST` of each are made more, and scaled."""
    supply = cycle(names)

    async def run(each: int) -> float:
        async def task(number: int, mine: list[str]) -> None:
            for name in mine:
                await one(number, name)

        portions = [list(islice(supply, each)) for _ in range(tasks)]
        start = time.perf_counter()
        await asyncio.gather(*(task(number, mine) for number, mine in enumerate(portions)))
        return time.perf_counter() - start

    def repeat(count: int) -> float:
        each = max(LEAST if tasks > 1 else 1, round(count / tasks))
        return runner.run(run(each)) * count / (each * tasks)

    return repeat


def _told(runner: asyncio.Runner, one: One, tasks: int, names: list[str], seconds: float) -> str:
    """The median and the 99th percentile of the time a call takes, and CPU a call."""
    supply = cycle(names)
    taken: list[float] = []

    async def task(number: int, end: float) -> None:
        now = time.perf_counter()
        while now < end:
            await one(number, next(supply))
            before, now = now, time.perf_counter()
            taken.append(now - before)

    async def run(length: float) -> None:
        end = time.perf_counter() + length
        await asyncio.gather(*(task(number, end) for number in range(tasks)))

    runner.run(run(seconds / 4))
    taken.clear()
    used = time.process_time()
    runner.run(run(seconds))
    used = time.process_time() - used
    cuts = quantiles(taken, n=100) if len(taken) > 1 else [taken[0]] * 99
    return f"{_time(cuts[49])}/{_time(cuts[98])}/{_time(used / len(taken))}"


def _time(seconds: float) -> str:
    micros = seconds * 1e6
    if micros >= 1000:
        return f"{micros / 1000:.3g} ms"
    return f"{micros:.1f} µs" if micros < 10 else f"{micros:.0f} µs"


def zipfian() -> list[str]:
    """Keys by YCSB's law: few of them most of the time."""
    source = random.Random(4)
    weights = [1 / (rank + 1) ** ZIPF for rank in range(KEYS)]
    return [key(number) for number in source.choices(range(KEYS), weights, k=20_000)]
