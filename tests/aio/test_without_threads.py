"""Network backends under an event loop: what needs no thread, and what a thread still does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import statekeep
import uvloop
from statekeep import VersionConflict, aio
from statekeep.aio import AsyncStorage

from core.tests.gated import no_thread_left
from tests.aio.conftest import Config

HOUR = timedelta(hours=1)
LARGE = 3_000_000

Scenario = Callable[[AsyncStorage], Awaitable[None]]


class Deaf(asyncio.SelectorEventLoop):
    """A loop that watches no file descriptors, as the default one of Windows."""

    def add_reader(self, *args: Any) -> Any:
        raise NotImplementedError

    def remove_reader(self, fd: Any) -> Any:
        raise NotImplementedError


@pytest.fixture(params=["redis", "postgres", "mysql"])
def config(request: pytest.FixtureRequest, server: Callable[[str], Config]) -> Config:
    return server(request.param)


def run(config: Config, scenario: Scenario, loop: Any = asyncio.new_event_loop) -> None:
    async def opened() -> None:
        async with aio.open(config) as storage:
            await asyncio.wait_for(scenario(storage), 30)

    with no_thread_left(), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(opened())


async def one_after_the_other(storage: AsyncStorage, number: int) -> None:
    """Writes of every kind, conflicts and reads."""
    version = await storage.values.put("k0", b"1")
    assert await storage.values.put("k0", b"2", expected=version) > version
    with pytest.raises(VersionConflict):
        await storage.values.put("k0", b"3", expected=version)
    await storage.values.put(f"new{number}", b"", expected=0)
    await storage.values.put(f"appeared{number}", b"")
    await storage.values.put("mortal", b"", ttl=HOUR)
    assert await storage.values.delete(f"new{number}")
    async with storage.transaction() as tx:
        tx.put("k1", b"%d" % number)
        tx.add("set", b"1")
        tx.schedule("queue", "id", due=HOUR)
    found = await storage.values.get_many(["k0", "k1", "absent"])
    assert {key: each.value for key, each in found.items()} == {"k0": b"2", "k1": b"%d" % number}


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_values_and_transactions_need_no_thread(
    config: Config, handed: list[str], loop: Any
) -> None:
    """Once connections are open: reads, writes of every kind, conflicts, one at a time and many."""

    async def scenario(storage: AsyncStorage) -> None:
        await asyncio.gather(*(storage.values.put(f"k{n}", b"0") for n in range(100)))
        await asyncio.gather(*(storage.values.get(f"k{n}") for n in range(100)))
        for number in range(4):
            await one_after_the_other(storage, number)
            if number == 0:
                handed.clear()  # connections are open, and Redis knows the scripts
        assert handed == []

        async def add(number: int) -> None:
            await storage.values.update(f"k{number % 20}", lambda value: (value or b"") + b".")

        await asyncio.gather(*(add(number) for number in range(200)))
        assert len(handed) <= 8, "more than the connections that these needed besides"

    run(config, scenario, loop)


def test_answers_in_many_parts(config: Config, handed: list[str]) -> None:
    """A large value that nobody expects is put together in the loop; then threads read such."""

    async def scenario(storage: AsyncStorage) -> None:
        value = os.urandom(LARGE)
        await storage.values.put("large", value)
        await storage.values.put("small", b"1")
        for name in ("large", "small", "large"):
            await storage.values.get(name)
        handed.clear()
        found = await asyncio.gather(*(storage.values.get(n) for n in ("large", "small") * 5))
        assert {each.value for each in found if each} == {value, b"1"}
        assert handed, "megabytes were read in the loop"

    run(config, scenario)


def test_a_loop_that_watches_no_sockets(config: Config, handed: list[str]) -> None:
    """Threads do everything."""

    async def scenario(storage: AsyncStorage) -> None:
        for _ in range(3):
            version = await storage.values.put("k", b"1")
            assert (await storage.values.get("k")).version == version  # type: ignore[union-attr]
        assert handed, "who else?"

    async def opened() -> None:
        async with aio.open(config) as storage:
            await scenario(storage)

    # `asyncio.run` itself watches the loop's own socket, before this test's refusal counts.
    loop = asyncio.SelectorEventLoop()
    loop.__class__ = Deaf
    try:
        loop.run_until_complete(opened())
    finally:
        loop.__class__ = asyncio.SelectorEventLoop
        loop.close()


def test_a_loop_that_follows_another(config: Config) -> None:
    """Whatever a loop left under way when it ended is given up; the next one goes on."""
    storage = statekeep.open(config)
    storage.values.put("k", b"1")
    both = AsyncStorage(storage.backend)

    async def leave() -> None:
        await both.values.get("k")
        for _ in range(20):
            asyncio.get_running_loop().create_task(both.values.get("k"))
            asyncio.get_running_loop().create_task(both.values.put("other", b"2"))
        await asyncio.sleep(0)  # they begin; the dispatch follows
        await asyncio.sleep(0)

    async def go_on() -> None:
        for _ in range(5):
            assert (await both.values.get("k")).value == b"1"  # type: ignore[union-attr]
            await both.values.put("k2", b"2")
        await both.close()

    first = asyncio.new_event_loop()
    first.run_until_complete(leave())
    for task in asyncio.all_tasks(first):
        task.cancel()
    first.close()
    with no_thread_left():
        asyncio.run(go_on())


def test_a_forked_child_goes_on(config: Config) -> None:
    """With connections of its own, while the parent's calls are under way."""

    async def scenario(storage: AsyncStorage) -> None:
        await storage.values.put("k", b"1")
        tasks = [asyncio.ensure_future(storage.values.get("k")) for _ in range(5)]
        await asyncio.sleep(0)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with statekeep.open(config) as own:
                    own.values.put("child", b"2")
                statekeep.Storage(storage.backend).values.put("k3", b"3")
                code = 0
            finally:
                os._exit(code)
        assert all(entry and entry.value == b"1" for entry in await asyncio.gather(*tasks))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert status == 0
        assert await storage.values.get("child") is not None

    run(config, scenario)


def test_one_connection_for_everything(server: Callable[[str], Config]) -> None:
    """What finds no idle connection waits for one in a thread; nothing is lost or stuck."""
    for name in ("redis", "postgres", "mysql"):
        config = server(name)
        only = {"pool_config": {"max_total": 1}} if name == "redis" else {"maximum_pool_size": 1}
        config[name] |= only

        async def scenario(storage: AsyncStorage) -> None:
            async def add(number: int) -> None:
                for _ in range(5):
                    await storage.values.update(
                        f"n{number}", lambda v: b"%d" % (int(v or b"0") + 1)
                    )

            await asyncio.gather(*(add(number) for number in range(50)))
            found = await storage.values.get_many([f"n{number}" for number in range(50)])
            assert {entry.value for entry in found.values()} == {b"5"} and len(found) == 50

        run(config, scenario)
