"""What a scrape tells is what was called, on stores that are really there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep.aio
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from statekeep import LeaseLost, Storage, Unavailable, VersionConflict
from statekeep.usage import BOUNDS, CallStats, Usage, bucket
from statekeep_prometheus.families import Snapshot, families

from plugins.prometheus.tests.conftest import Open
from plugins.prometheus.tests.scraping import Scrape, scraped
from tests.servers.ports import free_ports
from tests.servers.redis import RedisProcess

VALUE = b"paid " * 200


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, observed: Open) -> Callable[..., Storage]:
    """Opens an observed storage on a file, or on a server."""
    if request.param == "sqlite":
        return observed
    server: RedisProcess = request.getfixturevalue("server")
    options = {"host": "127.0.0.1", "port": server.port, "database": 3}

    def make(**prometheus: Any) -> Storage:
        storage = observed("redis", options, **prometheus)
        for key, _ in list(storage.values.scan()):
            storage.values.delete(key)
        return storage

    return make


def test_counters_say_exactly_what_was_called(store: Callable[..., Storage]) -> None:
    """Over HTTP: calls, records, bytes, and the sum of times, by operation."""
    (port,) = free_ports()
    storage = store(port=port, name="orders")
    for number in range(7):
        storage.values.put(f"order/{number}", VALUE)
    for number in range(5):
        storage.values.get(f"order/{number}")
    storage.values.get_many(["order/5", "order/6", "absent"])
    with storage.transaction() as tx:
        tx.put("order/0", b"shipped")
        tx.add("tag/eu", b"order/0", b"order/1")

    usage, told = storage.usage(), scraped(port)
    calls = {"put": 7, "get": 5, "get_many": 1, "transaction": 1}
    for operation, count in calls.items():
        of = {"operation": operation, "storage": "orders"}
        assert told.value("call_duration_seconds_count", **of) == count
        assert told.value("call_duration_seconds_bucket", le="+Inf", **of) == count
        seconds = usage.calls[operation].seconds
        assert told.value("call_duration_seconds_sum", **of) == pytest.approx(seconds)
    assert told.labels("call_duration_seconds_count", "operation") == set(usage.calls)
    records = {"put": 7, "get": 5, "get_many": 3, "transaction": 2}
    for operation, count in records.items():
        of = {"operation": operation, "storage": "orders"}
        assert told.value("call_records_total", **of) == count
    of = {"storage": "orders"}
    assert told.value("bytes_written_total", operation="put", **of) == 7 * len(VALUE)
    assert told.value("bytes_read_total", operation="get", **of) == 5 * len(VALUE)
    assert told.value("bytes_read_total", operation="get_many", **of) == 2 * len(VALUE)
    assert told.value("bytes_written_total", operation="transaction", **of) == len(
        b"shipped" + b"order/0" + b"order/1"
    )


def test_buckets_only_grow_from_bound_to_bound_and_from_scrape_to_scrape(
    store: Callable[..., Storage], registry: CollectorRegistry
) -> None:
    """As Prometheus expects of a histogram, and of everything that is a counter."""
    storage = store()
    counters: dict[Any, float] = {}
    for _ in range(3):
        for number in range(20):
            storage.values.put(f"k{number}", VALUE)
            storage.values.get(f"k{number}")
        told = scraped(registry)
        for operation in told.labels("call_duration_seconds_bucket", "operation"):
            found = {
                float(dict(labels)["le"]): count
                for labels, count in told.series("call_duration_seconds_bucket").items()
                if ("operation", operation) in labels
            }
            counts = [found[bound] for bound in sorted(found)]
            assert counts == sorted(counts)
        now = {
            key: value
            for key, value in told.samples.items()
            if key[0].endswith(("_total", "_bucket", "_count", "_sum"))
        }
        assert all(now[key] >= value for key, value in counters.items())
        counters = now


def test_a_bucket_holds_exactly_the_calls_up_to_its_bound() -> None:
    """Whatever the times: those below the lowest bound, above the highest, and on a bound."""
    rng = random.Random(7)
    times = [*(10 ** rng.uniform(-7, 2.5) for _ in range(3000)), *BOUNDS, 0.0]
    counts = [0] * (len(BOUNDS) + 1)
    for seconds in times:
        counts[bucket(seconds)] += 1
    calls = CallStats(count=len(times), seconds=sum(times), buckets=tuple(counts))
    snapshot = Snapshot("s", "sqlite", "state.db", Usage(calls={"get": calls}), None)
    told = {
        sample.labels["le"]: sample.value
        for family in families([snapshot])
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    assert len(told) == 26
    for bound, count in told.items():
        # A bound's text leaves out the noise of its last digits, some 1e-16 of it.
        assert count == sum(seconds <= float(bound) * (1 + 1e-12) for seconds in times)


def test_what_did_not_hold_is_a_conflict_and_what_failed_an_error(
    observed: Open, registry: CollectorRegistry
) -> None:
    """By operation and kind; a server that is gone is `Unavailable`."""
    with RedisProcess() as server:
        options = {"host": "127.0.0.1", "port": server.port, "timeout": 500}
        storage = observed("redis", options)
        storage.values.put("k", b"v")
        for _ in range(3):
            with pytest.raises(VersionConflict):
                storage.values.put("k", b"w", expected=0)
        storage.deferred.schedule("q", "1", due=timedelta(0))
        (message,) = storage.deferred.claim("q")
        storage.deferred.acknowledge(message)
        with pytest.raises(LeaseLost):
            storage.deferred.acknowledge(message)
        told = scraped(registry)
        assert not told.series("errors_total")
        of = {"storage": "redis"}
        assert told.value("conflicts_total", operation="put", condition="version", **of) == 3
        assert told.value("conflicts_total", operation="acknowledge", condition="lease", **of) == 1
    for _ in range(2):
        with pytest.raises(Unavailable):
            storage.values.get("other")
    told = scraped(registry)
    assert told.value("errors_total", operation="get", error="Unavailable", **of) == 2
    assert told.value("call_duration_seconds_count", operation="get", **of) == 2
    assert sum(told.series("errors_total").values()) == 2
    assert told.value("pool_connect_failures_total", **of) >= 1


def test_retries_of_updates_are_counted(observed: Open, registry: CollectorRegistry) -> None:
    """Each time that another writer came between."""
    storage = observed()
    storage.values.put("k", b"0")
    interruptions = iter([b"1", b"2"])

    def interrupted(value: bytes | None) -> bytes:
        for each in interruptions:
            storage.values.put("k", each)
            break
        return (value or b"") + b"!"

    assert storage.values.update("k", interrupted).value == b"2!"
    told = scraped(registry)
    assert told.value("retries_total", storage="sqlite") == 2
    assert (
        told.value("conflicts_total", operation="put", condition="version", storage="sqlite") == 2
    )


def test_what_tasks_waited_for_is_told_apart_from_the_calls_that_they_shared(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    """Or a sum over all operations would count the same time twice."""
    tasks = 40

    async def told() -> Scrape:
        config = {
            "sqlite": {"path": str(tmp_path / "state.db")},
            "observers": {"prometheus": {"registry": registry, "count_interval": 0}},
        }
        async with statekeep.aio.open(config) as storage:
            await asyncio.gather(*(storage.values.get(f"k{number}") for number in range(tasks)))
            return scraped(registry)

    found = asyncio.run(told())
    of = {"storage": "sqlite"}
    assert found.value("task_wait_seconds_count", kind="read", **of) == tasks
    assert found.value("task_wait_seconds_bucket", kind="read", le="+Inf", **of) == tasks
    assert found.labels("call_duration_seconds_count", "operation") <= {"get", "get_many"}
    assert sum(found.series("call_duration_seconds_count").values()) < tasks
    assert sum(found.series("call_records_total").values()) == tasks


def test_cache_and_compression_are_told(
    store: Callable[..., Storage], registry: CollectorRegistry
) -> None:
    """Hits, misses and size by kind; bytes plain and as they are stored."""
    storage = store(name="s")
    storage.values.put("k", VALUE)
    for _ in range(4):
        storage.values.get("k")
    usage, told = storage.usage(), scraped(registry)
    of = {"kind": "key_value", "storage": "s"}
    cache = usage.caches["key_value"]
    assert cache.hits and cache.hits + cache.misses == 4
    assert told.value("cache_hits_total", **of) == cache.hits
    assert told.value("cache_misses_total", **of) == cache.misses
    assert told.value("cache_entries", **of) == 1
    assert told.value("cache_bytes", **of) == cache.bytes
    moved = {"direction": "written", "storage": "s"}
    assert told.value("value_bytes_total", form="plain", **moved) == len(VALUE)
    assert 0 < told.value("value_bytes_total", form="stored", **moved) < len(VALUE) / 5


def test_the_pool_is_told(
    observed: Open, server: RedisProcess, registry: CollectorRegistry
) -> None:
    """In use and idle, and the limit."""
    options = {"host": "127.0.0.1", "port": server.port, "pool_config": {"max_total": 3}}
    storage = observed("redis", options)
    storage.ping()
    pool, told = storage.usage().pool, scraped(registry)
    of = {"storage": "redis"}
    assert told.value("pool_limit", **of) == pool.limit
    assert told.value("pool_connections", state="idle", **of) == pool.idle >= 1
    assert told.value("pool_connections", state="in_use", **of) == 0
    assert told.value("pool_connects_total", **of) == pool.created >= 1
    assert told.value("pool_waiting", **of) == 0


def test_storages_side_by_side_have_names_of_their_own(
    observed: Open, server: RedisProcess, registry: CollectorRegistry
) -> None:
    """In one registry, each metric comes once; the second of a name has a number behind it."""
    options = {"host": "127.0.0.1", "port": server.port}
    file, first, second = observed(), observed("redis", options), observed("redis", options)
    file.ping()
    first.values.get("a")
    for _ in range(3):
        second.values.get("a")
    told = scraped(registry)
    calls = {
        name: told.value("call_duration_seconds_count", operation=operation, storage=name)
        for name, operation in {"sqlite": "ping", "redis": "get", "redis-2": "get"}.items()
    }
    assert calls == {"sqlite": 1, "redis": 1, "redis-2": 3}
    assert told.labels("storage_info", "server") >= {f"127.0.0.1:{server.port}/0"}
    first.close()
    assert scraped(registry).labels("storage_info", "storage") == {"sqlite", "redis-2"}
    observed("redis", options)
    told = scraped(registry)
    assert told.labels("storage_info", "storage") == {"sqlite", "redis", "redis-2"}
    of = {"operation": "get", "storage": "redis-2"}
    assert told.value("call_duration_seconds_count", **of) == 3


def test_the_answer_is_valid_openmetrics_too(observed: Open, registry: CollectorRegistry) -> None:
    """Its parser is the strict one."""
    observed().values.get("k")
    observed().values.get("k")
    text = generate_latest(registry).decode()
    assert {family.name for family in text_string_to_metric_families(text)} > {
        "statekeep_call_duration_seconds",
        "statekeep_errors",
    }
