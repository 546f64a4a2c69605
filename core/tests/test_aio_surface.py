"""Every call of the asynchronous surface, on real backends, under both event loops."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from statekeep import (
    Closed,
    ConfigError,
    InvalidArgument,
    LeaseLost,
    Storage,
    Unsupported,
    VersionConflict,
    aio,
)
from statekeep.aio import AsyncStorage

from core.tests.gated import Gated, no_thread_left, threads

Scenario = Callable[[AsyncStorage], Awaitable[None]]
Run = Callable[[Scenario], None]

LOOPS: dict[str, Any] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
HOUR = timedelta(hours=1)


@pytest.fixture(params=["memory", "sqlite", "cached sqlite"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "memory":
        return {"memory": {}}
    found: dict[str, Any] = {"sqlite": {"path": str(tmp_path / "state.db")}}
    if "cached" in request.param:
        found["cache"] = {"key_value": {"maximum_size": 100}, "key_set": {"maximum_size": 100}}
    return found


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, config: dict[str, Any]) -> Iterator[Run]:
    """Runs a scenario on an open storage."""

    async def opened(scenario: Scenario) -> None:
        async with aio.open(config) as storage:
            await asyncio.wait_for(scenario(storage), 30)

    def started(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(opened(scenario))

    with no_thread_left():
        yield started


def test_values(run: Run) -> None:
    """Read, write, condition, delete, several at once, scan."""

    async def scenario(storage: AsyncStorage) -> None:
        values = storage.values
        assert await values.get("k") is None
        version = await values.put("k", b"1", expected=0)
        entry = await values.get("k")
        assert entry is not None and (entry.value, entry.version) == (b"1", version)
        with pytest.raises(VersionConflict) as caught:
            await values.put("k", b"2", expected=0)
        assert caught.value.current == {"k": version}
        versions = await values.put_many({"a": b"a", "b": b"b"})
        found = await values.get_many(["a", "b", "missing", "a"])
        assert {key: entry.version for key, entry in found.items()} == versions
        assert await values.put_many({}) == {} == await values.get_many([])
        assert [key async for key, _ in values.scan("a")] == ["a"]
        assert await values.delete("k", expected=version) and not await values.delete("k")
        await values.put("brief", b"", ttl=timedelta(milliseconds=30))
        await asyncio.sleep(0.05)
        assert await values.get("brief") is None

    run(scenario)


def test_update_with_a_function_of_either_kind(run: Run) -> None:
    """Twenty tasks add one each, half of them by a coroutine function; none is lost."""

    async def scenario(storage: AsyncStorage) -> None:
        def plain(value: bytes | None) -> bytes:
            return b"%d" % (int(value or b"0") + 1)

        async def slow(value: bytes | None) -> bytes:
            await asyncio.sleep(0)
            return plain(value)

        add = storage.values.update
        await asyncio.gather(*(add("n", slow if each % 2 else plain) for each in range(20)))
        entry = await storage.values.get("n")
        assert entry is not None and entry.value == b"20"
        assert await storage.values.update("n", lambda value: None) is None
        assert await storage.values.get("n") is None
        assert await storage.values.update("n", lambda value: value) is None

        async def meddle(value: bytes | None) -> bytes:
            await storage.values.put("n", b"meddled")
            return b"lost"

        with pytest.raises(VersionConflict):
            await storage.values.update("n", meddle, attempts=2)
        with pytest.raises(InvalidArgument):
            await storage.values.update("n", plain, attempts=0)

    run(scenario)


def test_sets(run: Run) -> None:
    """Members, pages by `async for`, membership, changes of several sets at once."""

    async def scenario(storage: AsyncStorage) -> None:
        sets = storage.sets
        await sets.add("s", b"a", b"b", b"c")
        await sets.remove("s", b"c")
        assert await sets.members("s") == {b"a", b"b"}
        await sets.update(add={"t": [b"x"]}, remove={"s": [b"a"]})
        assert await sets.members_many(["s", "t", "u"]) == {"s": {b"b"}, "t": {b"x"}, "u": set()}
        assert await sets.contains("t", b"x") and not await sets.contains("t", b"y")
        await sets.add("many", *(b"%02d" % number for number in range(25)))
        pages = [page async for page in sets.pages("many", 10)]
        assert sum(len(page.items) for page in pages) >= 25 and len(pages) == 3
        assert (await sets.page("many", limit=5)).cursor is not None
        assert sorted([key async for key in sets.scan()]) == ["many", "s", "t"]
        await sets.add("none")
        assert await sets.members("none") == set()

    run(scenario)


def test_deferred_messages(run: Run) -> None:
    """Scheduled, claimed, extended, released, acknowledged, cancelled, lost."""

    async def scenario(storage: AsyncStorage) -> None:
        deferred = storage.deferred
        await deferred.schedule("q", "1", due=timedelta(0), payload=b"p")
        await deferred.schedule("q", "2", due=datetime.now(UTC) + HOUR)
        (message,) = await deferred.claim("q", limit=10, lease=HOUR)
        assert (message.id, message.payload) == ("1", b"p")
        await deferred.extend(message, HOUR)
        await deferred.release(message)
        (again,) = await deferred.claim("q")
        with pytest.raises(LeaseLost):
            await deferred.acknowledge(message)
        await deferred.acknowledge(again)
        assert [each.id async for each in deferred.scan("q")] == ["2"]
        assert await deferred.cancel("q", "2") and not await deferred.cancel("q", "2")

    run(scenario)


def test_transactions(run: Run) -> None:
    """Collected without awaiting, committed at the end of the block, all or nothing."""

    async def scenario(storage: AsyncStorage) -> None:
        async with storage.transaction() as tx:
            tx.put("k", b"v", expected=0)
            tx.check("l", 0)
            tx.add("s", b"m")
            tx.schedule("q", "i", due=timedelta(0))
        entry = await storage.values.get("k")
        assert entry is not None and tx.versions == {"k": entry.version}
        with pytest.raises(VersionConflict):
            async with storage.transaction() as tx:
                tx.put("k", b"w", expected=0)
                tx.add("s", b"n")
        with pytest.raises(ZeroDivisionError):
            async with storage.transaction() as tx:
                tx.add("s", b"n")
                _ = 1 / 0
        assert await storage.sets.members("s") == {b"m"}
        async with storage.transaction() as empty:
            pass
        assert empty.versions == {}
        with pytest.raises(InvalidArgument, match="async with"):
            storage.transaction().put("k", b"")
        with pytest.raises(InvalidArgument, match="has ended"):
            empty.put("k", b"")

    run(scenario)


def test_the_storage_itself(run: Run) -> None:
    """Ping, purge, stats with what travelled together, capabilities."""

    async def scenario(storage: AsyncStorage) -> None:
        await storage.ping()
        await asyncio.gather(*(storage.values.put(f"{each}", b"") for each in range(50)))
        assert await storage.purge() == 0
        details = (await storage.stats()).details
        assert 50 <= int(details["batching.calls"]) <= 60
        assert int(details["batching.batches"]) < 20
        assert storage.capabilities.max_value_bytes > 0
        with pytest.raises(InvalidArgument):
            await storage.values.get("")
        with pytest.raises(InvalidArgument):
            await storage.values.get_many("abc")

    run(scenario)


def test_contextvars_are_kept(run: Run) -> None:
    """In what the caller hands over, and after every await."""
    name = contextvars.ContextVar[str]("name", default="nobody")

    async def scenario(storage: AsyncStorage) -> None:
        async def task(mine: str) -> None:
            name.set(mine)
            await storage.values.put(mine, b"")
            assert name.get() == mine
            entry = await storage.values.update(mine, lambda value: name.get().encode())
            assert entry is not None and entry.value == mine.encode()
            await storage.values.get(mine)
            assert name.get() == mine

        await asyncio.gather(*(task(f"task {number}") for number in range(20)))
        assert name.get() == "nobody"

    run(scenario)


def test_opening_by_await_and_closing_twice(config: dict[str, Any]) -> None:
    """Closing twice is no error; any other use is `Closed`, also of what a cache holds."""

    async def scenario() -> None:
        storage = await aio.open(config)
        await storage.values.put("k", b"v")
        await storage.values.get("k")
        await asyncio.gather(storage.close(), storage.close())
        await storage.close()
        assert not threads()
        for call in (storage.values.get("k"), storage.values.put("k", b""), storage.ping()):
            with pytest.raises(Closed):
                await call

    with no_thread_left():
        asyncio.run(scenario())


def test_opening_fails_as_it_does_without_aio(tmp_path: Path) -> None:
    """With the same error, and nothing left open."""

    async def scenario() -> None:
        with pytest.raises(ConfigError):
            await aio.open({"backend": "sqlite", "sqlite": {"path": 3}})
        with pytest.raises(ConfigError):
            async with aio.open({"sqlite": {"path": str(tmp_path / "missing/state.db")}}):
                pass

    with no_thread_left():
        asyncio.run(scenario())


def test_one_loop_after_the_other() -> None:
    """A storage goes on in a new loop once the old one is closed; not in two at a time."""
    storage = AsyncStorage(Gated())
    asyncio.run(_put(storage, "a"))
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(_put(storage, "b"))
        with pytest.raises(Unsupported, match="another event loop"):
            second.run(_put(storage, "c"))
        first.run(storage.close())


async def _put(storage: AsyncStorage, key: str) -> None:
    await asyncio.gather(*(storage.values.put(f"{key}{each}", b"") for each in range(10)))


def test_sync_and_async_over_one_backend(tmp_path: Path) -> None:
    """What one writes the other reads."""
    with Storage(Gated()) as storage:

        async def scenario() -> None:
            both = AsyncStorage(storage.backend)
            storage.values.put("k", b"sync")
            entry = await both.values.get("k")
            assert entry is not None and entry.value == b"sync"
            await both.values.put("k", b"async")
            await both.close()

        asyncio.run(scenario())
