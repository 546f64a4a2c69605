"""Records what tasks see of a store, for `check_history`; also as what a child process runs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from statekeep import VersionConflict, aio
from statekeep.aio import AsyncStorage
from statekeep.testing.history import Conflicted, Event, Read, Written


async def record(storage: AsyncStorage, keys: Sequence[str], seed: int, rounds: int) -> list[Event]:
    """Reads keys at random and writes them conditionally; everything that one task saw."""
    chance = random.Random(seed)
    events: list[Event] = []
    for number in range(rounds):
        if chance.random() < 0.2:
            events += await read(storage, keys)
        key = chance.choice(keys)
        (seen,) = await read(storage, [key])
        events.append(seen)
        if chance.random() < 0.8:
            value: bytes | None = b"%d/%d" % (seed, number)
            if seen.version and chance.random() < 0.1:
                value = None
            stale = chance.random() < 0.1
            expected = chance.choice((0, seen.version + 1)) if stale else seen.version
            if value is None and not expected:
                value = b"instead"
            events.append(await write(storage, key, expected, value))
    return events


async def read(storage: AsyncStorage, keys: Sequence[str]) -> list[Read]:
    """One read, timed."""
    invoked = time.monotonic_ns()
    if len(keys) == 1:
        entry = await storage.values.get(keys[0])
        found = {} if entry is None else {keys[0]: entry}
    else:
        found = await storage.values.get_many(keys)
    returned = time.monotonic_ns()
    return [
        Read(
            key=key,
            invoked=invoked,
            returned=returned,
            version=found[key].version if key in found else 0,
            value=found[key].value if key in found else None,
        )
        for key in keys
    ]


async def write(
    storage: AsyncStorage, key: str, expected: int, value: bytes | None
) -> Written | Conflicted:
    """A conditional put, or with None a conditional delete, timed."""
    times: dict[str, Any] = {"key": key, "expected": expected, "invoked": time.monotonic_ns()}
    try:
        if value is None:
            await storage.values.delete(key, expected=expected)
            version = 0
        else:
            version = await storage.values.put(key, value, expected=expected)
    except VersionConflict as conflict:
        current = conflict.current[key]
        return Conflicted(**times, returned=time.monotonic_ns(), current=current)
    return Written(**times, returned=time.monotonic_ns(), version=version, value=value)


async def record_all(
    config: dict[str, Any], keys: Sequence[str], seed: int, tasks: int, rounds: int
) -> list[Event]:
    """What many tasks of one storage saw."""
    async with aio.open(config) as storage:
        seen = await asyncio.gather(
            *(record(storage, keys, seed * 1000 + each, rounds) for each in range(tasks))
        )
        counted = storage._session.counters()
        assert counted.batches < counted.calls, "nothing travelled together"
        return [event for events in seen for event in events]


def run_recording(
    config: dict[str, Any], keys: Sequence[str], seed: int, tasks: int, rounds: int
) -> list[Event]:
    """`record_all` in a loop of its own."""
    return asyncio.run(record_all(config, keys, seed, tasks, rounds))


def run_counting(config: dict[str, Any], keys: Sequence[str], tasks: int, rounds: int) -> int:
    """Tasks that add one to counters, again and again; how often altogether."""

    async def count() -> int:
        async with aio.open(config) as storage:

            async def one(each: int) -> None:
                for number in range(rounds):
                    key = keys[(each + number) % len(keys)]
                    await storage.values.update(key, _more, attempts=10_000)

            await asyncio.gather(*(one(each) for each in range(tasks)))
            return tasks * rounds

    return asyncio.run(count())


def _more(value: bytes | None) -> bytes:
    return b"%d" % (int(value or b"0") + 1)
