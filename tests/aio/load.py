"""Tasks that go on writing whatever happens, and what must be true of what they wrote."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta

from statekeep import OutcomeUnknown, Storage, StorageError, Unavailable, VersionConflict
from statekeep.aio import AsyncStorage


class Load:
    """Tasks that write transactions of state, tag and timer, and count keys up.

    Attributes:
        acknowledged: the numbers whose transaction was acknowledged.
        unknown: those whose outcome nobody told.
        refused: those of which it was said that they were not applied.
    """

    def __init__(self, storage: AsyncStorage, writers: int = 40) -> None:
        self.storage = storage
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.refused: set[int] = set()
        self.counted: Counter[int] = Counter()
        self.uncounted: Counter[int] = Counter()
        self._next = 0
        self._stop = False
        self._writers = writers
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._run(each)) for each in range(self._writers)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def progress(self, count: int, seconds: float = 30.0) -> None:
        """Waits until so many more transactions were acknowledged."""
        goal, deadline = len(self.acknowledged) + count, time.monotonic() + seconds
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, f"no progress within {seconds} s"
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def _run(self, writer: int) -> None:
        while not self._stop:
            await self._write()
            await self._count(writer)

    async def _write(self) -> None:
        number, self._next = self._next, self._next + 1
        try:
            async with self.storage.transaction() as tx:
                tx.put(f"state/{number}", b"%d" % number, expected=0)
                tx.add(f"tag/{number}", b"%d" % number)
                tx.schedule("timers", f"{number}", due=timedelta(hours=1))
        except OutcomeUnknown:
            self.unknown.add(number)
        except Unavailable:
            self.refused.add(number)
            await asyncio.sleep(0.02)
        else:
            self.acknowledged.add(number)

    async def _count(self, writer: int) -> None:
        key = f"counter/{writer}"
        try:
            entry = await self.storage.values.get(key)
            value, version = (int(entry.value), entry.version) if entry else (0, 0)
            await self.storage.values.put(key, b"%d" % (value + 1), expected=version)
        except OutcomeUnknown:
            self.uncounted[writer] += 1
        except VersionConflict:
            # Only this writer writes the key: a write of unknown outcome came to be after the read.
            assert self.uncounted[writer]
        except Unavailable:
            await asyncio.sleep(0.02)
        else:
            self.counted[writer] += 1

    def verify(self, storage: Storage) -> None:
        """Every acknowledged transaction is there, whole; none that was refused; no half one."""
        states = {int(key.removeprefix("state/")) for key, _ in storage.values.scan("state/")}
        tags = {int(key.removeprefix("tag/")) for key in storage.sets.scan("tag/")}
        timers = {int(message.id) for message in storage.deferred.scan("timers")}
        assert states == tags == timers
        assert self.acknowledged <= states, sorted(self.acknowledged - states)[:20]
        assert not self.refused & states, sorted(self.refused & states)[:20]
        assert states <= self.acknowledged | self.unknown
        for writer in range(self._writers):
            entry = storage.values.get(f"counter/{writer}")
            value = int(entry.value) if entry else 0
            least = self.counted[writer]
            assert least <= value <= least + self.uncounted[writer], writer


def patiently(storage: Storage) -> Storage:
    """The storage, once it answers."""
    deadline = time.monotonic() + 30
    while True:
        try:
            storage.ping()
            return storage
        except StorageError:
            assert time.monotonic() < deadline, "it never came back"
            time.sleep(0.05)
