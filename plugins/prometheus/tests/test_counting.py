"""Records and bytes, counted in the background."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from plugins.prometheus.tests.conftest import Open
from plugins.prometheus.tests.scraping import scraped
from tests.servers.redis import RedisProcess
from tests.servers.waiting import until


def test_records_and_bytes_are_those_of_the_store(
    observed: Open, registry: CollectorRegistry
) -> None:
    """By kind, with the time of the count; counted again after the interval."""
    writer = observed()
    for number in range(5):
        writer.values.put(f"k{number}", b"v" * 100)
    writer.sets.add("tag", b"a", b"b")
    writer.deferred.schedule("q", "1", due=timedelta(days=1), payload=b"later")
    observed(name="counted", count_interval=1)
    until((), lambda: scraped(registry).series("records"), "the first count")
    told, stats = scraped(registry), writer.stats()
    for kind, each in stats.kinds.items():
        of = {"kind": kind.value, "storage": "counted"}
        assert told.value("records", **of) == each.records > 0
        assert told.value("record_bytes", **of) == each.bytes
    of = {"storage": "counted"}
    assert told.value("stored_bytes", **of) == stats.stored_bytes
    assert told.value("count_failures_total", **of) == 0
    assert told.value("count_duration_seconds", **of) > 0
    counted = told.value("count_timestamp_seconds", **of)
    writer.values.put("k5", b"v")
    key = {"kind": "key_value", "storage": "counted"}
    until((), lambda: scraped(registry).value("records", **key) == 6, "the second count")
    assert scraped(registry).value("count_timestamp_seconds", **of) > counted
    assert told.labels("records", "storage") == {"counted"}


def test_nothing_is_counted_with_an_interval_of_zero(
    observed: Open, registry: CollectorRegistry
) -> None:
    """There is no thread, and no sample that says zero."""
    before = set(threading.enumerate())
    storage = observed(count_interval=0)
    assert set(threading.enumerate()) <= before
    told = scraped(registry)
    for name in ("records", "stored_bytes", "count_timestamp_seconds", "count_failures_total"):
        assert not told.series(name)
    assert "stats" not in storage.usage().calls


def test_a_count_that_fails_is_told_and_the_last_one_stays(
    observed: Open, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again; the log says why, without a traceback."""
    of = {"storage": "redis"}
    key = {"kind": "key_value", **of}
    with RedisProcess() as server:
        options = {"host": "127.0.0.1", "port": server.port, "timeout": 300}
        storage = observed("redis", options, count_interval=1)
        until((), lambda: scraped(registry).series("records"), "the first count")
        storage.values.put("k", b"v")
        until((), lambda: scraped(registry).value("records", **key) == 1, "the second count")
        server.kill()
        with caplog.at_level(logging.WARNING, logger="statekeep_prometheus"):
            until(
                (),
                lambda: scraped(registry).value("count_failures_total", **of) >= 1,
                "a count that fails",
            )
        assert scraped(registry).value("records", **key) == 1
        assert f"counting the records of 127.0.0.1:{server.port}/0" in caplog.text
        assert "Traceback" not in caplog.text
        server.start()
        storage.values.put("k", b"v")
        before = scraped(registry).value("count_timestamp_seconds", **of)
        until(
            (),
            lambda: scraped(registry).value("count_timestamp_seconds", **of) > before,
            "a count after the failure",
        )
