"""Commits that the event loop sent itself, mixed, cut at any byte, cancelled, refused in part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import statekeep
from statekeep import LeaseLost, OutcomeUnknown, Storage, Unavailable, VersionConflict, aio
from statekeep.aio import AsyncStorage, may_have_happened

from tests.aio.censor import Censor
from tests.aio.conftest import Config
from tests.servers.waiting import until

HOUR = timedelta(hours=1)
TIMEOUT = 0.4
"""Seconds that an answer may take where a test waits it out."""


class Mix:
    """A batch of writers of every kind, and what was there before them.

    Attributes:
        keys: of the values that were there.
        before: their versions.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self.name = name
        plain = [f"{name}/plain{n}" for n in range(5)]
        mortal = [f"{name}/mortal{n}" for n in range(2)]
        self.keys = [*plain, *mortal, f"{name}/blind", f"{name}/stale", f"{name}/gone"]
        for key in self.keys:
            storage.values.put(key, b"before", ttl=HOUR if key in mortal else None)
        self.before = {key: entry.version for key, entry in self._entries(self.keys).items()}
        storage.deferred.schedule(f"{name}/due", "id", due=timedelta(0))
        (self.message,) = storage.deferred.claim(f"{name}/due")

    def _entries(self, keys: list[str]) -> dict[str, Any]:
        return self.storage.values.get_many(keys)

    def writers(self, storage: AsyncStorage) -> dict[str, Awaitable[Any]]:
        """What is to be written at once, by what it is."""
        name = self.name

        async def unit() -> Mapping[str, int]:
            async with storage.transaction() as tx:
                tx.add(f"{name}/set", b"1")
                tx.schedule(f"{name}/queue", "id", due=timedelta(0), payload=b"later")
                tx.put(f"{name}/with", b"after", expected=0)
            return tx.versions

        async def lost() -> None:
            async with storage.transaction() as tx:
                tx.put(f"{name}/never", b"")
                tx.acknowledge(self.message)

        self.storage.deferred.release(self.message)  # so its token is nobody's
        conditional = {
            key: storage.values.put(key, b"after", expected=self.before[key])
            for key in self.keys[:7]
        }
        return conditional | {
            "blind": storage.values.put(f"{name}/blind", b"after"),
            "stale": storage.values.put(f"{name}/stale", b"after", expected=7),
            "gone": storage.values.delete(f"{name}/gone"),
            "created": storage.values.put(f"{name}/created", b"after", expected=0),
            "appeared": storage.values.put(f"{name}/appeared", b"after"),
            "ttl": storage.values.put(f"{name}/ttl", b"after", ttl=HOUR),
            "unit": unit(),
            "lost": lost(),
        }

    def check(self, found: dict[str, Any]) -> int:
        """Whether each was told what is true; how many do not know."""
        name, now = self.name, self._entries(self.keys)
        for key in [*self.keys[:7], f"{name}/blind"]:
            told, entry = found[key if key in found else "blind"], now[key]
            moved = entry.version - self.before[key]
            assert (entry.value, moved) in [(b"before", 0), (b"after", 1)], key
            assert isinstance(told, OutcomeUnknown) or (told, moved) == (entry.version, 1), key
        if not isinstance(found["stale"], OutcomeUnknown):
            assert isinstance(found["stale"], VersionConflict)
            assert found["stale"].current == {f"{name}/stale": self.before[f"{name}/stale"]}
        assert now[f"{name}/stale"].version == self.before[f"{name}/stale"]
        assert found["gone"] is (f"{name}/gone" not in now) or self._unknown(found["gone"])
        for kind in ("created", "appeared", "ttl"):
            created = self.storage.values.get(f"{name}/{kind}")
            assert self._unknown(found[kind]) or (created and created.version == found[kind])
            assert created is None or (created.expires is not None) == (kind == "ttl")
        # A server that nobody listens to any more may be at it yet.
        until((), lambda: len(set(self._unit())) == 1, "a whole transaction or none of it", 10)
        assert self._unknown(found["unit"]) or all(self._unit())
        assert self._unknown(found["lost"]) or isinstance(found["lost"], LeaseLost)
        assert self.storage.values.get(f"{name}/never") is None
        return sum(map(self._unknown, found.values()))

    def _unit(self) -> Iterator[bool]:
        """Whether each part of that transaction is there."""
        name, storage = self.name, self.storage
        yield storage.values.get(f"{name}/with") is not None
        yield storage.sets.members(f"{name}/set") == {b"1"}
        yield [each.payload for each in storage.deferred.scan(f"{name}/queue")] == [b"later"]

    @staticmethod
    def _unknown(told: object) -> bool:
        return isinstance(told, OutcomeUnknown)


async def at_once(writers: dict[str, Awaitable[Any]]) -> dict[str, Any]:
    """What each was told."""
    told = await asyncio.gather(*writers.values(), return_exceptions=True)
    return dict(zip(writers, told, strict=True))


LIMITS = {
    "redis": {"timeout": int(TIMEOUT * 1000)},
    "postgres": {"statement_timeout": int(TIMEOUT * 500)},
    "mysql": {"statement_timeout": int(TIMEOUT * 500), "lock_timeout": int(TIMEOUT * 500)},
}


@pytest.fixture(params=LIMITS)
def both(
    request: pytest.FixtureRequest, server: Callable[[str], Config], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Config, Storage, Censor]]:
    """A config that leads through a censor, and the same store without one."""
    monkeypatch.setattr("statekeep_postgres.driver.GRACE", TIMEOUT / 2)
    monkeypatch.setattr("statekeep_mysql.dialer.GRACE", TIMEOUT / 2)
    config = server(request.param)
    with statekeep.open(config) as direct:
        process = request.getfixturevalue(f"{request.param}_server")
        censor = Censor(("127.0.0.1", process.port))
        with censor:
            through = {**config[request.param], "port": censor.port, **LIMITS[request.param]}
            yield {request.param: through}, direct, censor


async def connected(storage: AsyncStorage) -> None:
    """Goes on until a connection is open and idle, and the server knows what it will be asked."""
    for number in range(20):
        try:
            await asyncio.gather(*Mix(_sync(storage), f"warm{number}").writers(storage).values(),
                                 return_exceptions=True)  # fmt: skip
            await storage.values.get("warm")
            return
        except (Unavailable, OutcomeUnknown):
            await asyncio.sleep(0.01)
    raise AssertionError("no connection")


def _sync(storage: AsyncStorage) -> Storage:
    return Storage(storage.backend)


def test_a_mixed_batch_needs_no_thread(
    both: tuple[Config, Storage, Censor], handed: list[str]
) -> None:
    """Each of its writers is told its own outcome, also those that take a second exchange."""
    config, direct, _ = both

    async def scenario() -> None:
        async with aio.open(config) as storage:
            await connected(storage)
            for number in range(3):
                mix = Mix(direct, f"mix{number}")
                handed.clear()
                found = await at_once(mix.writers(storage))
                assert handed == []
                assert mix.check(found) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["cut", "silent"])
def test_answers_that_end_at_any_byte(both: tuple[Config, Storage, Censor], end: str) -> None:
    """Each is told the truth, or does not know: nothing is applied twice, nor said to be undone."""
    config, direct, censor = both
    unknown: list[int] = []

    async def scenario() -> None:
        async with aio.open(config) as storage:
            await connected(storage)
            mix, before = Mix(direct, "whole"), censor.passed
            assert mix.check(await at_once(mix.writers(storage))) == 0
            size = censor.passed - before
            points = range(0, size, max(11, size // 50)) if end == "cut" else [size // 2, size - 5]
            for point in points:
                await connected(storage)
                mix = Mix(direct, f"{point:05}")
                censor.budget, censor.silent = point, end == "silent"
                began = time.monotonic()
                found = await at_once(mix.writers(storage))
                taken = time.monotonic() - began
                censor.budget = None
                censor.cut()
                unknown.append(mix.check(found))
                errors = [each for each in found.values() if isinstance(each, BaseException)]
                assert len({id(each) for each in errors}) == len(errors), "one error for two"
                assert all(map(may_have_happened, filter(Mix._unknown, errors)))
                assert end == "cut" or taken < 1.8 * TIMEOUT
            assert min(unknown) > 0, "all was answered before the end"
            if end == "cut" and "mysql" not in config:  # which commits all of them in one
                assert max(unknown) > min(unknown), "nothing was known of a part"

    asyncio.run(scenario())
