"""What is called: `statekeep.aio`, and what a driver has to be able to do beside it."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from statekeep import Storage, VersionConflict
from statekeep.aio import AsyncStorage

from benchmarks.workload import ENCODED, KEYS, MAPPING, VALUE, key

WRITES = 0.1
"""Of the mixed load. YCSB's B has 0.05, but half of 10 % is too few to see."""

POOL = 10
"""Connections of each driver's pool."""

One: TypeAlias = Callable[[int, str], Awaitable[Any]]
"""What a task does again and again: given its number and a key."""


class Conflict(Exception):
    """Another writer came first."""


class Client(ABC):
    """A way to a store that has versions."""

    label: str

    def __init__(self) -> None:
        self.versions: dict[str, int] = {}

    @abstractmethod
    async def fill(self) -> None:
        """Puts a value under every key, and remembers the versions."""

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
        """See `Client.fill`."""
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

    async def overwrite(self, task: int, name: str) -> None:
        """A put without a condition, for stores that know none; of JSON, as theirs are."""
        await self._values.put(f"plain/{name}", ENCODED)


class Threads(Client):
    """The same storage without batching: each call in a thread of the loop's own pool."""

    label = "asyncio.to_thread"

    def __init__(self, storage: AsyncStorage) -> None:
        super().__init__()
        self._values = Storage(storage.backend).values

    async def fill(self) -> None:
        """See `Client.fill`."""
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


class KeyValue:
    """A store of py-key-value-aio: mappings instead of bytes, and no versions."""

    label = "py-key-value-aio"

    def __init__(self, store: Any) -> None:
        self._store = store

    async def fill(self) -> None:
        """Puts a mapping under every key."""
        for number in range(KEYS):
            await self.overwrite(0, key(number))

    async def read(self, task: int, name: str) -> None:
        """A read of the key."""
        await self._store.get(name)

    async def overwrite(self, task: int, name: str) -> None:
        """A write of the key."""
        await self._store.put(name, MAPPING)
