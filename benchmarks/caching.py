"""What the cache saves and costs: look-ups, hit rates, and the layers where nothing is cached."""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import moka_py
import theine
from attrs import frozen
from cachebox import LFUCache, LRUCache
from statekeep.cache import Cache
from statekeep.layers.base import innermost
from statekeep.registry import default_registry

from benchmarks.embedded import open_sqlite
from benchmarks.envelope import getter
from benchmarks.harness import Bar, Comparison, Side, Workshop, at_most, calls, faster
from benchmarks.workload import KEYS, VALUE, fill, key, picks

CACHED = {"key_value": {"maximum_size": 10_000, "expire_after_access": 3600}}
THREE_MICROSECONDS = Bar("more", 3.0, "at most 3 µs more")

ROOM = 5_000
UNIVERSE = 100_000
REQUESTS = 400_000
SKEW = 0.9
"""The exponent of the Zipf law; that of web and storage traces lies between 0.6 and 1.2."""

SCAN = 10_000
SCAN_EVERY = 20_000


@frozen
class Policy:
    """A cache by its two calls."""

    get: Callable[[str], Any]
    put: Callable[[str, Any], Any]


def cached_get(workshop: Workshop) -> Iterator[Comparison]:
    """`values.get` of what is cached, beside the bare library and beside the backend."""
    folder = workshop.folder_for("cached-get")
    library: LRUCache[str, bytes] = LRUCache(10_000)
    for number in range(KEYS):
        library[key(number)] = VALUE
    with open_sqlite(folder, "normal", cache=CACHED) as storage:
        fill(storage)
        storage.values.get_many([key(number) for number in range(KEYS)])
        get = Side("values.get, cached", calls(storage.values.get, picks()))
        yield Comparison(
            "cached get beside cachebox",
            get,
            Side("LRUCache.get", calls(library.get, picks())),
            at_most(3.0),
        )
        theirs: theine.Cache[str, bytes] = theine.Cache(10_000)
        for number in range(KEYS):
            theirs.set(key(number), VALUE)
        yield Comparison(
            "cached get beside theine",
            get,
            Side("theine.Cache.get", calls(theirs.get, picks())),
            at_most(3.0),
        )
        yield Comparison(
            "cached get beside the backend (sqlite)",
            get,
            Side("backend.get_many", calls(getter(innermost(storage.backend)), picks())),
            faster(50),
        )


def idle_layers(workshop: Workshop) -> Iterator[Comparison]:
    """Layers that find nothing cached and compress nothing, beside the backend."""
    folder = workshop.folder_for("idle")
    with open_sqlite(folder, "normal", compression="none") as storage:
        fill(storage)
        bare = Side("backend.get_many", calls(getter(innermost(storage.backend)), picks()))
        yield Comparison(
            "get, no cache, not compressed",
            Side("values.get", calls(storage.values.get, picks())),
            bare,
            THREE_MICROSECONDS,
        )
        missing = {"key_value": {"maximum_size": 1, "maximum_bytes": 1}}
        with open_sqlite(folder, "normal", compression="none", cache=missing) as cached:
            yield Comparison(
                "get, never found in the cache, not compressed",
                Side("values.get", calls(cached.values.get, picks())),
                bare,
            )


def hit_rates(workshop: Workshop) -> Iterator[Comparison]:
    """Replays of skewed requests; what counts is in the note."""
    count = min(REQUESTS, workshop.plan.many)
    for what, trace in traces(count).items():
        rates = {name: rate(policy, trace) for name, policy in policies().items()}
        note = ", ".join(f"{name} {found:.1%}" for name, found in rates.items())
        part = trace[: max(1, count // 50)]
        yield Comparison(
            f"hit rate: {what}",
            Side("cache memory", _replay("statekeep memory", part)),
            Side("cachebox LRU", _replay("cachebox LRU", part)),
            note=f"{ROOM} of {UNIVERSE} keys: {note}",
        )


def policies() -> Mapping[str, Policy]:
    """Each with room for as many entries."""
    plugin = default_registry().cache("memory")
    ours: Cache = plugin.factory(plugin.config(maximum_size=ROOM))
    lru: LRUCache[str, Any] = LRUCache(ROOM)
    lfu: LFUCache[str, Any] = LFUCache(ROOM)
    moka: moka_py.Moka[str, Any] = moka_py.Moka(ROOM)
    tiny: theine.Cache[str, Any] = theine.Cache(ROOM)
    return {
        "statekeep memory": Policy(ours.get, lambda name, value: ours.put(name, value, 1)),
        "cachebox LRU": Policy(lru.get, lru.__setitem__),
        "cachebox LFU": Policy(lfu.get, lfu.__setitem__),
        "moka-py (TinyLFU)": Policy(moka.get, moka.set),
        "theine (W-TinyLFU)": Policy(lambda name: tiny.get(name)[0], tiny.set),
    }


def traces(count: int) -> dict[str, list[str]]:
    """Requests by a Zipf law; with scans of keys that never come again; with a changing top."""
    return {
        "skewed": _zipf(count),
        "skewed, with scans": _scanned(_zipf(count)),
        "skewed, what is hot changes": _shifted(_zipf(count)),
    }


def rate(policy: Policy, trace: Sequence[str]) -> float:
    """Hits among the requests that are no scan."""
    hits = asked = 0
    for name in trace:
        found = policy.get(name) is not None
        if not found:
            policy.put(name, name)
        if not name.startswith("scan/"):
            asked += 1
            hits += found
    return hits / asked


def _zipf(count: int) -> list[str]:
    source = random.Random(6)
    weights = list(accumulate(1 / rank**SKEW for rank in range(1, UNIVERSE + 1)))
    return [f"order/{bisect.bisect(weights, source.random() * weights[-1])}" for _ in range(count)]


def _scanned(trace: Sequence[str]) -> list[str]:
    found: list[str] = []
    for number, name in enumerate(trace, 1):
        found.append(name)
        if number % SCAN_EVERY == 0:
            found += [f"scan/{number + offset}" for offset in range(SCAN)]
    return found


def _shifted(trace: Sequence[str]) -> list[str]:
    part = max(1, len(trace) // 8)
    return [
        f"order/{(int(name.removeprefix('order/')) + number // part * 3571) % UNIVERSE}"
        for number, name in enumerate(trace)
    ]


def _replay(name: str, trace: Sequence[str]) -> Callable[[int], float]:
    """Microseconds of one whole replay in a new cache."""

    def repeat(count: int) -> float:
        taken = 0.0
        for _ in range(count):
            policy = policies()[name]
            start = time.perf_counter()
            rate(policy, trace)
            taken += time.perf_counter() - start
        return taken

    return repeat
