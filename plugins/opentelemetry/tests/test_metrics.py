"""Metrics: the conventions' own, and those under `statekeep.`."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import statekeep
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from statekeep import ConfigError, VersionConflict
from statekeep_opentelemetry.conventions import DURATION_BUCKETS
from statekeep_opentelemetry.observed import INSTRUMENTS

from plugins.opentelemetry.tests.conftest import Open, Told
from tests.servers.redis import RedisProcess


def test_durations_are_as_many_as_calls_and_as_long(
    observed: Open, told: Told, tmp_path: Path
) -> None:
    """By operation and error, in the buckets that the conventions advise."""
    storage = observed()
    for number in range(4):
        storage.values.put(f"k{number}", b"v")
    for _ in range(2):
        with pytest.raises(VersionConflict):
            storage.values.put("k0", b"v", expected=0)
    storage.values.get("k0")
    own = {"db__namespace": str(tmp_path / "state.db")}
    points = told.points("db.client.operation.duration", **own)
    counts = {
        (dict(labels)["db.operation.name"], dict(labels).get("error.type")): point.count
        for labels, point in points.items()
    }
    assert counts == {("put", None): 4, ("put", "VersionConflict"): 2, ("get", None): 1}
    seconds = sum(point.sum for point in points.values())
    calls = storage.usage().calls
    inside = sum(calls[operation].seconds for operation in ("put", "get"))
    assert inside <= seconds
    for point in points.values():
        assert tuple(point.explicit_bounds) == DURATION_BUCKETS


def test_connections_are_told_by_state(observed: Open, told: Told, server: RedisProcess) -> None:
    """Of the pool that the option names."""
    config = {"host": "127.0.0.1", "port": server.port, "pool_config": {"max_total": 3}}
    storage = observed({"redis": config}, name="orders")
    storage.ping()
    pool = storage.usage().pool
    own = {"db__client__connection__pool__name": "orders"}
    count = "db.client.connection.count"
    assert told.point(count, db__client__connection__state="used", **own).value == 0
    idle = told.point(count, db__client__connection__state="idle", **own).value
    assert idle == pool.idle >= 1
    assert told.point("db.client.connection.max", **own).value == pool.limit == 3
    assert told.point("db.client.connection.pending_requests", **own).value == 0
    assert told.point("db.client.connection.timeouts", **own).value == 0
    assert told.point("statekeep.pool.connects", **own).value == pool.created >= 1


def test_bytes_records_and_the_cache_are_those_of_the_calls(
    observed: Open, told: Told, tmp_path: Path
) -> None:
    """As usage() says them."""
    config = {
        "sqlite": {"path": str(tmp_path / "state.db")},
        "compression": {"name": "gzip", "min_size": 0},
        "cache": {"key_value": {"maximum_size": 10}},
    }
    storage = observed(config, name="s")
    storage.values.put("k", b"v" * 1000)
    for _ in range(3):
        storage.values.get("k")
    usage = storage.usage()
    own: dict[str, Any] = {"db__client__connection__pool__name": "s"}
    read = {"statekeep__direction": "read", "db__operation__name": "get"}
    assert told.point("statekeep.io", **read, **own).value == 3000
    written = {"statekeep__direction": "write", **own}
    assert told.point("statekeep.io", db__operation__name="put", **written).value == 1000
    assert told.point("statekeep.records", db__operation__name="get", **own).value == 3
    assert told.point("statekeep.value.io", statekeep__form="plain", **written).value == 1000
    stored = told.point("statekeep.value.io", statekeep__form="stored", **written).value
    assert usage.compression is not None and stored == usage.compression.written_stored < 200
    cache = usage.caches["key_value"]
    hits = told.point("statekeep.cache.lookups", statekeep__cache__result="hit", **own).value
    misses = told.point("statekeep.cache.lookups", statekeep__cache__result="miss", **own).value
    assert (hits, misses) == (cache.hits, cache.misses)
    assert told.point("statekeep.cache.size", **own).value == cache.bytes > 0
    assert told.names() >= {each.name for each in INSTRUMENTS} - {"db.client.connection.max"}


def test_storages_of_one_server_are_told_apart_and_a_closed_one_is_told_no_more(
    observed: Open, told: Told
) -> None:
    """Each pool has a name of its own."""
    first, second = observed(name="pool"), observed(name="pool")
    first.values.get("k")
    for _ in range(2):
        second.values.get("k")

    def records(pool: str) -> list[float]:
        own = {"db__client__connection__pool__name": pool, "db__operation__name": "get"}
        return [point.value for point in told.points("statekeep.records", **own).values()]

    assert (records("pool"), records("pool-2")) == ([1], [2])
    first.close()
    assert (records("pool"), records("pool-2")) == ([], [2])
    assert observed(name="pool").usage().calls == {}


def test_metrics_can_be_left_out(observed: Open, told: Told, tmp_path: Path) -> None:
    """Spans are told all the same."""
    observed(metrics=False).values.get("k")
    assert len(told.spans) == 1
    own = {"db__namespace": str(tmp_path / "state.db")}
    assert not told.points("db.client.operation.duration", **own)
    assert not told.points("statekeep.retries", **own)


def test_a_closed_storage_is_not_held(told: Told, tmp_path: Path) -> None:
    """The instruments stay for good; what they observed does not."""
    config = {"sqlite": {"path": str(tmp_path / "state.db")}, "observers": {"opentelemetry": {}}}
    storage = statekeep.open(config)
    storage.ping()
    held = weakref.ref(storage.backend)
    storage.close()
    del storage
    gc.collect()
    assert held() is None


def test_providers_may_be_given_in_code(observed: Open, told: Told) -> None:
    """The global ones are told nothing then."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider(metric_readers=[reader])
    for _ in range(2):
        with observed(name="own", tracer_provider=tracers, meter_provider=meters) as storage:
            storage.values.get("k")
            data = reader.get_metrics_data()
    assert data is not None
    found = {each.name: each for each in data.resource_metrics[0].scope_metrics[0].metrics}
    assert found["db.client.operation.duration"].data.data_points[0].count == 2
    (records,) = found["statekeep.records"].data.data_points
    assert records.value == 1
    assert [span.name.split()[0] for span in spans.get_finished_spans()] == ["get", "get"]
    assert told.spans == ()
    assert not told.points("statekeep.records", db__client__connection__pool__name="own")


@pytest.mark.parametrize("option", ["tracer_provider", "meter_provider"])
def test_a_provider_is_no_text(observed: Open, option: str) -> None:
    """A config file cannot give one."""
    with pytest.raises(ConfigError, match=f"opentelemetry.{option}: must be a .*, which only code"):
        observed(**{option: "global"})
