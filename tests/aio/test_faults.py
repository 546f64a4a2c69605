"""What breaks under load: nobody is told a success that was none, nor hangs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import CorruptValue, OutcomeUnknown, StorageError, Unavailable, aio
from statekeep.aio import may_have_happened

from core.tests.gated import no_thread_left
from tests.aio.conftest import Config
from tests.aio.load import Load, patiently
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisProcess

FAST = 400
"""A timeout in milliseconds, for tests that wait it out."""


def test_every_acknowledged_transaction_survives_a_kill(mortal: tuple[Any, Config]) -> None:
    """kill -9 of the server under forty tasks, three times; then it runs again, and they go on."""
    server, config = mortal

    async def scenario() -> None:
        async with aio.open(config) as storage:
            load = Load(storage)
            async with load:
                for _ in range(3):
                    await load.progress(200)
                    await asyncio.to_thread(server.kill)
                    await asyncio.sleep(0.2)
                    await asyncio.to_thread(server.start)
                await load.progress(200)
            assert load.unknown or load.refused
        with statekeep.open(config) as checking:
            load.verify(patiently(checking))

    with no_thread_left():
        asyncio.run(scenario())


@pytest.fixture
def proxied(redis_server: RedisProcess) -> Any:
    with Proxy(redis_server.address) as proxy:
        yield proxy, {"redis": {"host": "127.0.0.1", "port": proxy.port, "timeout": FAST}}


def test_answers_that_are_cut_off(proxied: tuple[Proxy, Config]) -> None:
    """A batch whose answer was lost is unknown to each of its callers, and sent once."""
    proxy, config = proxied

    async def scenario() -> None:
        async with aio.open(config) as storage:
            names = [f"cut{number}" for number in range(20)]
            await asyncio.gather(*(storage.values.put(name, b"0") for name in names))
            proxy.cut_answers = True
            more = [storage.values.update(name, lambda value: value) for name in names]
            found = await asyncio.gather(*more, return_exceptions=True)
            assert {type(each) for each in found} <= {OutcomeUnknown, Unavailable}
            before = proxy.requests
            puts = [storage.values.put(name, b"1") for name in names]
            found = await asyncio.gather(*puts, return_exceptions=True)
            assert {type(each) for each in found} <= {OutcomeUnknown, Unavailable}
            assert proxy.requests - before <= 3
            proxy.cut_answers = False
            while True:
                try:
                    await storage.values.put("after", b"")
                    break
                except StorageError:
                    await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_a_network_that_swallows_everything(proxied: tuple[Proxy, Config]) -> None:
    """All callers know within the timeout, though they are many, and close() ends."""
    proxy, config = proxied

    async def scenario() -> None:
        async with aio.open(config) as storage:
            await storage.values.put("k", b"")
            proxy.blackhole = True
            started = time.monotonic()
            calls = [storage.values.put(f"hole{n}", b"") for n in range(500)]
            calls += [storage.values.get(f"hole{n}") for n in range(500)]  # type: ignore[misc]
            found = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in found} <= {OutcomeUnknown, Unavailable}
            assert time.monotonic() - started < 10 * FAST / 1000 + 5
        proxy.blackhole = False

    with no_thread_left():
        asyncio.run(scenario())


def test_a_timeout_of_the_caller_on_a_slow_network(proxied: tuple[Proxy, Config]) -> None:
    """The caller goes on at once, and knows that the write may have happened."""
    proxy, config = proxied

    async def scenario() -> None:
        async with aio.open(config) as storage:
            await storage.values.put("slow", b"before")
            proxy.delay = 0.2
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await storage.values.put("slow", b"after")
            assert may_have_happened(caught.value)
            proxy.delay = 0.0
            deadline = time.monotonic() + 10
            while (await storage.values.get("slow")).value != b"after":  # type: ignore[union-attr]
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

    asyncio.run(scenario())


def test_a_damaged_value_fails_its_own_caller(redis_server: RedisProcess, tmp_path: Path) -> None:
    """One value of a hundred that are read together was overwritten by another program."""
    prefix = f"{tmp_path.name}:"
    config = {"redis": {"host": "127.0.0.1", "port": redis_server.port, "prefix": prefix}}

    async def scenario() -> None:
        async with aio.open(config) as storage:
            keys = [f"k{number}" for number in range(100)]
            await asyncio.gather(*(storage.values.put(key, key.encode()) for key in keys))
            redis_server.command("SET", f"{prefix}v:k42", "not ours")
            reads = [storage.values.get(key) for key in keys]
            found = await asyncio.gather(*reads, return_exceptions=True)
            for key, entry in zip(keys, found, strict=True):
                if key == "k42":
                    assert isinstance(entry, CorruptValue)
                else:
                    assert not isinstance(entry, BaseException | None)
                    assert entry.value == key.encode()
            puts = [storage.values.put(key, b"new") for key in keys]
            written = await asyncio.gather(*puts, return_exceptions=True)
            wrong = [key for key, each in zip(keys, written, strict=True)
                     if not isinstance(each, int)]  # fmt: skip
            assert wrong in ([], ["k42"])

    asyncio.run(scenario())


def test_many_tasks_over_a_small_pool(redis_server: RedisProcess, tmp_path: Path) -> None:
    """One connection is enough: nobody waits for the pool in vain."""
    config = {
        "redis": {
            "host": "127.0.0.1",
            "port": redis_server.port,
            "prefix": f"{tmp_path.name}:",
            "pool_config": {"max_total": 1},
            "timeout": 2000,
        }
    }

    async def scenario() -> None:
        async with aio.open(config) as storage:
            assert storage.capabilities.max_connections == 1

            async def work(number: int) -> None:
                for _ in range(5):
                    await storage.values.update(f"k{number}", lambda value: (value or b"") + b"x")
                    await storage.sets.add("s", b"%d" % number)
                    await storage.sets.contains("s", b"1")

            await asyncio.gather(*(work(number) for number in range(100)))
            assert len(await storage.sets.members("s")) == 100

    asyncio.run(scenario())
