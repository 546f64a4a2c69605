"""Many writers whose commits the event loop sends: killed, frozen, forgotten, full, cancelled."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import statekeep
from statekeep import Entry, OutcomeUnknown, Unavailable, VersionConflict, aio
from statekeep.aio import AsyncStorage, may_have_happened
from statekeep_redis import scripts

from core.tests.gated import no_thread_left
from tests.aio.conftest import Config
from tests.aio.load import patiently
from tests.servers.redis import RedisProcess

TIMEOUT = 0.5
"""Seconds that an answer may take where a test waits it out."""


def config_of(server: RedisProcess, **options: Any) -> Config:
    where = {"host": "127.0.0.1", "port": server.port, "timeout": int(TIMEOUT * 1000)}
    return {"redis": {**where, **options}}


async def warm(storage: AsyncStorage, count: int) -> dict[str, int]:
    """The versions of so many keys; connections are open, and the server knows the scripts."""
    for _ in range(2):
        await asyncio.gather(*(storage.values.put(f"n{n}", b"0") for n in range(count)))
    found = await storage.values.get_many([f"n{n}" for n in range(count)])
    versions = {key: entry.version for key, entry in found.items()}
    puts = [storage.values.put(key, b"0", expected=at) for key, at in versions.items()]
    return dict(zip(versions, await asyncio.gather(*puts), strict=True))


class Counters:
    """Tasks that each count a key up, and what they were told.

    Attributes:
        told: by task and kind: `done`, `unknown` and `refused`.
    """

    def __init__(self, storage: AsyncStorage, tasks: int) -> None:
        self.told: Counter[tuple[int, str]] = Counter()
        self._storage = storage
        self._tasks = [asyncio.create_task(self._count(number)) for number in range(tasks)]
        self._stopped = False

    def total(self, kind: str) -> int:
        return sum(count for (_, each), count in self.told.items() if each == kind)

    async def progress(self, count: int) -> None:
        """Waits until so many more increments were acknowledged."""
        goal, deadline = self.total("done") + count, time.monotonic() + 20
        while self.total("done") < goal:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)

    async def _count(self, number: int) -> None:
        key, entry = f"n{number}", None
        while not self._stopped:
            try:
                entry = entry or await self._storage.values.get(key)
                assert entry is not None
                value = b"%d" % (int(entry.value) + 1)
                version = await self._storage.values.put(key, value, expected=entry.version)
            except OutcomeUnknown as error:
                assert may_have_happened(error)
                self._note(number, "unknown")
                entry = None
            except VersionConflict:
                assert self.told[number, "unknown"], "somebody else wrote"
                entry = None
            except Unavailable as error:
                assert not may_have_happened(error)
                self._note(number, "refused")
                await asyncio.sleep(0.01)  # and with the same version: it was not applied
            else:
                self._note(number, "done")
                entry = Entry(value, version, None)

    def _note(self, number: int, kind: str) -> None:
        self.told[number, kind] += 1

    def verify(self, found: dict[str, Entry], before: dict[str, int]) -> None:
        """Versions and values moved together, by all that was done and at most what may have."""
        for number in range(len(self._tasks)):
            entry, done = found[f"n{number}"], self.told[number, "done"]
            assert done <= int(entry.value) <= done + self.told[number, "unknown"]
            assert entry.version - before[f"n{number}"] == int(entry.value)


def test_counters_over_a_kill(mortal: tuple[Any, Config]) -> None:
    """kill -9 in mid-write: what was acknowledged is there, what was refused is not."""
    server, config = mortal

    async def scenario() -> None:
        async with aio.open(config) as storage:
            before = await warm(storage, 60)
            counters = Counters(storage, 60)
            for _ in range(12):
                await counters.progress(600)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.05)
                await asyncio.to_thread(server.start)
                if counters.total("refused") and counters.total("unknown"):
                    break
            await counters.progress(600)
            await counters.stop()
            assert counters.total("refused") and counters.total("unknown")
        with statekeep.open(config) as checking:
            found = patiently(checking).values.get_many(list(before))
            counters.verify(found, before)

    with no_thread_left():
        asyncio.run(scenario())


def test_a_frozen_server_under_many_writers() -> None:
    """All know after about one timeout; whatever they were told is so when it goes on."""

    async def scenario(server: RedisProcess) -> None:
        async with aio.open(config_of(server)) as storage:
            before = await warm(storage, 200)
            server.freeze()
            try:
                began = time.monotonic()
                puts = [storage.values.put(key, b"1", expected=at) for key, at in before.items()]
                told = await asyncio.gather(*puts, return_exceptions=True)
                assert time.monotonic() - began < 1.8 * TIMEOUT
            finally:
                server.thaw()
            found = patiently(_direct(storage)).values.get_many(list(before))
            for (key, at), each in zip(before.items(), told, strict=True):
                assert isinstance(each, OutcomeUnknown | Unavailable)
                moved = found[key].version - at
                assert moved in ([0, 1] if may_have_happened(each) else [0])
            assert sum(map(may_have_happened, told)) >= 100  # type: ignore[arg-type]  # errors all
            again = [
                storage.values.put(key, b"2", expected=entry.version)
                for key, entry in found.items()
            ]
            assert len(await asyncio.gather(*again)) == 200

    with RedisProcess() as server:
        asyncio.run(scenario(server))


def _direct(storage: AsyncStorage) -> statekeep.Storage:
    return statekeep.Storage(storage.backend)


@pytest.mark.parametrize("known", [scripts.UPDATES, scripts.COMMIT], ids=["updates", "commit"])
def test_a_server_that_knows_some_of_the_scripts(known: scripts.Script) -> None:
    """What one script did is not done again, where another one was refused."""

    async def scenario(server: RedisProcess) -> None:
        async with aio.open(config_of(server)) as storage:
            versions = await warm(storage, 20)
            for round in range(3):
                server.command("SCRIPT", "FLUSH")
                server.command("SCRIPT", "LOAD", known.text)
                puts = [storage.values.put(k, b"1", expected=at) for k, at in versions.items()]
                more = [storage.values.put(f"new{round}/{n}", b"", expected=0) for n in range(5)]
                blind = storage.values.put("n0/blind", b"")
                written = await asyncio.gather(*puts, *more, blind)
                moved = [new - at for new, at in zip(written, versions.values(), strict=False)]
                assert moved == [1] * 20
                versions = dict(zip(versions, written, strict=False))

    with RedisProcess() as server:
        asyncio.run(scenario(server))


def test_a_full_server_and_writers_of_every_kind() -> None:
    """What would need memory is refused, and is not there; deleting and reading go on."""

    async def scenario(server: RedisProcess) -> None:
        async with aio.open(config_of(server)) as storage:
            versions = await warm(storage, 10)
            server.command("CONFIG", "SET", "maxmemory", "1")

            async def unit(name: str) -> None:
                async with storage.transaction() as tx:
                    tx.add("set", name.encode())
                    tx.put(name, b"")

            puts = [storage.values.put(f"n{n}", b"1", expected=versions[f"n{n}"]) for n in range(5)]
            others = [
                storage.values.put("new", b"", expected=0),
                storage.values.put("n5", b"1"),
                unit("unit"),
            ]
            stale = storage.values.put("n6", b"1", expected=7)
            told = await asyncio.gather(*puts, *others, stale, return_exceptions=True)
            assert {type(each) for each in told[:-1]} == {Unavailable}
            assert isinstance(told[-1], VersionConflict | Unavailable)
            assert not any(map(may_have_happened, told))  # type: ignore[arg-type]  # errors all
            found = await storage.values.get_many([*versions, "new", "unit"])
            assert {key: entry.version for key, entry in found.items()} == versions
            assert await storage.sets.members("set") == set()
            server.command("CONFIG", "SET", "maxmemory", "0")
            puts = [storage.values.put(f"n{n}", b"1", expected=versions[f"n{n}"]) for n in range(5)]
            assert len(await asyncio.gather(*puts, unit("unit"))) == 6

    with RedisProcess({"maxmemory-policy": "noeviction"}) as server:
        asyncio.run(scenario(server))


def test_replicas_that_are_waited_for(redis_server: RedisProcess) -> None:
    """A write that too few of them confirm is no success, though a connection lies ready."""
    config = config_of(redis_server, wait_replicas=1, wait_timeout=50, prefix="replicas:")

    async def scenario() -> None:
        async with aio.open(config) as storage:
            for number in range(3):
                await storage.values.get("k")
                puts = [storage.values.put(f"k{n}", b"%d" % number) for n in range(3)]
                told = await asyncio.gather(*puts, return_exceptions=True)
                assert {type(each) for each in told} == {OutcomeUnknown}

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["redis", "postgres", "mysql"])
def test_cancellations_at_random(server: Callable[[str], Config], name: str) -> None:
    """What was acknowledged is there, what was not sent is not, and nobody else is disturbed."""
    chance = random.Random(11)
    seen: set[str] = set()

    async def cancelling(storage: AsyncStorage, before: dict[str, int]) -> None:
        told = dict.fromkeys(before, "absent")  # as of tasks that never began

        async def put(key: str) -> None:
            try:
                await storage.values.put(key, b"1", expected=before[key])
                told[key] = "there"
            except asyncio.CancelledError as error:
                told[key] = "perhaps" if may_have_happened(error) else "absent"
                seen.add(told[key])
                raise

        tasks: list[asyncio.Task[None]] = []
        for key in before:
            tasks.append(asyncio.create_task(put(key)))
            if chance.random() < 0.2:
                await asyncio.sleep(chance.choice([0, 0, 0, 0.001]))
            if chance.random() < 0.3:
                chance.choice(tasks[-8:]).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ended} == {type(None), asyncio.CancelledError}
        found = await storage.values.get_many(list(before))
        for key, what in told.items():
            moved = found[key].version - before[key]
            assert moved in {"there": [1], "absent": [0], "perhaps": [0, 1]}[what]

    async def scenario() -> None:
        async with aio.open(server(name)) as storage:
            for _ in range(20):
                await cancelling(storage, await warm(storage, 100))
                if seen == {"absent", "perhaps"}:
                    return
            raise AssertionError(f"only seen: {seen}")

    with no_thread_left():
        asyncio.run(scenario())
