"""The asynchronous API as a type checker sees it; `make check` runs mypy over this."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import assert_type

import statekeep
from statekeep import Backend, BackendStats, Capabilities, DeferredMessage, Entry, Page, aio
from statekeep.aio import AsyncStorage, AsyncUnitOfWork


async def slowly(value: bytes | None) -> bytes | None:
    return value


async def values(storage: AsyncStorage) -> None:
    assert_type(await storage.values.get("k"), Entry | None)
    assert_type(await storage.values.get_many(["k"]), dict[str, Entry])
    assert_type(
        await storage.values.put("k", b"v", expected=0, ttl=timedelta(seconds=1)),
        int,
    )
    assert_type(await storage.values.put_many({"k": b"v"}), dict[str, int])
    assert_type(await storage.values.delete("k", expected=1), bool)
    assert_type(await storage.values.update("k", lambda value: value, attempts=3), Entry | None)
    assert_type(await storage.values.update("k", slowly), Entry | None)
    assert_type(storage.values.scan("p"), AsyncIterator[tuple[str, Entry]])
    await storage.values.put("k", "text")  # type: ignore[arg-type]  # values are bytes
    storage.values.get("k").version  # type: ignore[attr-defined]  # noqa: B018  # not awaited


async def sets(storage: AsyncStorage) -> None:
    assert_type(await storage.sets.members("k"), frozenset[bytes])
    assert_type(await storage.sets.members_many(["k"]), dict[str, frozenset[bytes]])
    assert_type(await storage.sets.page("k", limit=10), Page[bytes])
    assert_type(await storage.sets.contains("k", b"m"), bool)
    await storage.sets.add("k", b"m", b"n")
    await storage.sets.update(add={"k": [b"m"]}, remove={"l": (b"n",)})
    async for page in storage.sets.pages("k"):
        assert_type(page.items, tuple[bytes, ...])


async def deferred(storage: AsyncStorage) -> None:
    await storage.deferred.schedule("q", "i", due=datetime.now(UTC), payload=b"")
    assert_type(await storage.deferred.cancel("q", "i"), bool)
    messages = await storage.deferred.claim("q", limit=3, lease=timedelta(seconds=5))
    assert_type(messages, list[DeferredMessage])
    await storage.deferred.acknowledge(messages[0])
    await storage.deferred.release(messages[0], delay=timedelta(seconds=1))
    await storage.deferred.extend(messages[0], timedelta(seconds=1))


async def main() -> None:
    async with aio.open("statekeep.toml", compression="gzip") as storage:
        assert_type(storage, AsyncStorage)
        async with storage.transaction() as tx:
            assert_type(tx, AsyncUnitOfWork)
            tx.put("k", b"v", expected=None)
            tx.check("l", 0)
        assert_type(tx.versions["k"], int)
        assert_type(storage.capabilities, Capabilities)
        assert_type(storage.backend, Backend)
        assert_type(await storage.purge(), int)
        assert_type(await storage.stats(), BackendStats)
    assert_type(await aio.open({"backend": "memory"}), AsyncStorage)
    assert_type(await statekeep.aio.open(), AsyncStorage)
    try:
        await values(storage)
    except TimeoutError as error:
        assert_type(aio.may_have_happened(error), bool)
