"""Calls of an event loop over TLS, which reads ahead of what it was asked for."""

from __future__ import annotations

import asyncio
import os

import pytest
from statekeep import VersionConflict, aio

from tests.aio.conftest import Config
from tests.aio.lanes import handed_to_threads


async def encrypted_calls(config: Config) -> None:
    """Large and small answers, batches and conflicts; threads only for a second connection."""
    with handed_to_threads() as handed:
        async with aio.open(config) as storage:
            large = os.urandom(400_000)
            versions = [await storage.values.put(f"k{n}", b"0") for n in range(100)]
            version = await storage.values.put("large", large)
            await storage.values.put("k0", b"0", expected=versions[0])
            await storage.values.get("k0")
            handed.clear()
            for _ in range(3):
                entry = await storage.values.get("large")
                assert entry is not None and entry.value == large
                version = await storage.values.put("large", large, expected=version)
                with pytest.raises(VersionConflict):
                    await storage.values.put("large", b"", expected=1)
                assert await storage.values.get("absent") is None
            assert handed == []
            changes = [storage.values.put(f"k{n}", b"x" * 3000) for n in range(1, 100)]
            assert len(await asyncio.gather(*changes)) == 99
            found = await asyncio.gather(*(storage.values.get(f"k{n}") for n in range(1, 100)))
            assert {entry.value for entry in found if entry} == {b"x" * 3000}
