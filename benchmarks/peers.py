"""The embedded backends beside other libraries, each used as its own guide says.

py-key-value-aio stores mappings, as JSON; the bar is for what each library's own call takes, a row
of its own puts our JSON on top. Its calls are awaited in one running event loop by one task.
diskcache runs with its defaults (WAL, synchronous=NORMAL, 8192 pages of cache, mmap of 64 MB),
without eviction; and a second time with synchronous=FULL, our default.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, TypeVar

import diskcache  # type: ignore[import-untyped]  # it has no type hints
import statekeep
from key_value.aio.stores.disk import DiskStore
from key_value.aio.stores.memory import MemoryStore
from statekeep import Storage

from benchmarks.embedded import open_sqlite, putter
from benchmarks.harness import Bar, Comparison, Repeat, Side, Workshop, calls, faster
from benchmarks.workload import ENCODED, KEYS, MAPPING, VALUE, fill, key, picks

T = TypeVar("T")

FIVE_TIMES = faster(5)


def key_value_memory(workshop: Workshop) -> Iterator[Comparison]:
    """py-key-value-aio's memory store."""
    with asyncio.Runner() as runner, statekeep.open("memory:") as storage:
        store = MemoryStore()
        yield from _beside(runner, "memory", storage, store, FIVE_TIMES)


def key_value_disk(workshop: Workshop) -> Iterator[Comparison]:
    """py-key-value-aio's disk store, which is diskcache with synchronous=NORMAL."""
    for synchronous, bar in (("normal", FIVE_TIMES), ("full", None)):
        folder = workshop.folder_for(f"key-value-disk-{synchronous}")
        with asyncio.Runner() as runner, open_sqlite(folder, synchronous) as storage:
            store = DiskStore(directory=folder / "theirs")
            what = f"sqlite ({synchronous})"
            yield from _beside(runner, what, storage, store, bar)
            runner.run(store.close())


def disk_cache(workshop: Workshop) -> Iterator[Comparison]:
    """diskcache's `get` and `set`."""
    for ours, theirs, bar in (
        ("normal", "normal", faster()),
        ("full", "full", faster()),
        ("full", "normal", None),
    ):
        folder = workshop.folder_for(f"diskcache-{ours}-{theirs}")
        with (
            open_sqlite(folder, ours) as storage,
            diskcache.Cache(
                folder / "theirs",
                eviction_policy="none",
                sqlite_synchronous={"normal": 1, "full": 2}[theirs],
            ) as cache,
        ):
            fill(storage)
            with cache.transact():
                for number in range(KEYS):
                    cache.set(key(number), VALUE)
            pair = f"sqlite ({ours}) beside diskcache ({theirs})"
            yield Comparison(
                f"get: {pair}",
                Side("values.get", calls(storage.values.get, picks())),
                Side("Cache.get", calls(cache.get, picks())),
                bar,
            )
            yield Comparison(
                f"put: {pair}",
                Side("values.put", calls(putter(storage), picks())),
                Side("Cache.set", calls(_setter(cache), picks())),
                bar,
                long=True,
            )


def _beside(
    runner: asyncio.Runner, what: str, storage: Storage, store: Any, bar: Bar | None
) -> Iterator[Comparison]:
    async def put(name: str) -> None:
        await store.put(name, MAPPING)

    async def fill_theirs() -> None:
        for number in range(KEYS):
            await store.put(key(number), MAPPING)

    values = storage.values
    runner.run(fill_theirs())
    fill(storage, KEYS, ENCODED)
    get_theirs = Side("await store.get", awaits(runner, store.get, picks()))
    put_theirs = Side("await store.put", awaits(runner, put, picks()))
    pair = f"{what} beside py-key-value-aio"
    yield Comparison(f"get: {pair}", Side("get", calls(values.get, picks())), get_theirs, bar)
    yield Comparison(
        f"put: {pair}", Side("put", calls(putter(storage, ENCODED), picks())), put_theirs, bar
    )

    def get_mapping(name: str) -> Any:
        entry = values.get(name)
        return None if entry is None else json.loads(entry.value)

    def put_mapping(name: str) -> int:
        return values.put(name, json.dumps(MAPPING).encode())

    yield Comparison(
        f"get with JSON: {pair}", Side("get and loads", calls(get_mapping, picks())), get_theirs
    )
    yield Comparison(
        f"put with JSON: {pair}", Side("dumps and put", calls(put_mapping, picks())), put_theirs
    )


def awaits(
    runner: asyncio.Runner, function: Callable[[T], Awaitable[Any]], names: Sequence[T]
) -> Repeat:
    """Calls awaited one after the other; starting and leaving the loop is not counted."""
    supply = cycle(names)

    async def timed(batch: list[T]) -> float:
        start = time.perf_counter()
        for name in batch:
            await function(name)
        return time.perf_counter() - start

    return lambda count: runner.run(timed(list(islice(supply, count))))


def _setter(cache: Any) -> Callable[[str], Any]:
    set_ = cache.set
    return lambda name: set_(name, VALUE)
