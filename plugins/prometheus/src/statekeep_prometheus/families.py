"""Every metric: its name, labels and meaning, and where its samples come from.

Names follow Prometheus's "Metric and label naming": base units, `_total` for what only grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

from attrs import frozen
from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from statekeep.metrics import TASKS
from statekeep.usage import BOUNDS, OCTAVE, CallStats, Usage

from statekeep_prometheus.counting import Counted

FIRST_BUCKET = 4 * OCTAVE
"""The index of the lowest bound that is exported, 4 µs: below it are answers from memory only."""

BUCKETS = tuple(range(FIRST_BUCKET, len(BOUNDS), OCTAVE))
"""The indices of the exported bounds, one an octave: 4 µs, 8 µs, ... 67 s."""

LABELS = tuple(repr(round(BOUNDS[index], 9)) for index in BUCKETS)
"""What the label `le` says of each: without the last digits' noise of the powers."""

CONDITIONS = {"VersionConflict": "version", "LeaseLost": "lease"}
"""Errors that say that a condition did not hold, which is an answer and no failure."""


@frozen
class Snapshot:
    """The numbers of one storage at the time of a scrape."""

    storage: str
    backend: str
    server: str
    usage: Usage
    counted: Counted | None


Samples: TypeAlias = Iterable[tuple[tuple[str, ...], Any]]
"""Values of the labels besides `storage`, and the value; of a histogram, buckets and sum."""


@frozen
class Family:
    """A metric.

    Attributes:
        kind: the class of `prometheus_client` that it becomes.
        name: without the suffix that the kind adds.
        help: one line, with what its labels tell.
        labels: besides `storage`.
        samples: those of one storage.
    """

    kind: Callable[..., Any]
    name: str
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Snapshot], Samples]

    def metric(self, snapshots: Sequence[Snapshot]) -> Metric:
        """With the samples of these storages."""
        metric: Any = self.kind(
            f"statekeep_{self.name}", self.help, labels=("storage", *self.labels)
        )
        for snapshot in snapshots:
            for labels, value in self.samples(snapshot):
                values = value if isinstance(value, tuple) else (value,)
                metric.add_metric((snapshot.storage, *labels), *values)
        made: Metric = metric
        return made


def families(snapshots: Sequence[Snapshot]) -> Iterator[Metric]:
    """Every metric, with the samples of these storages."""
    return (family.metric(snapshots) for family in FAMILIES)


def _calls(snapshot: Snapshot) -> dict[str, CallStats]:
    """The calls of the store, without what tasks waited for: that is the same time again."""
    return {name: each for name, each in snapshot.usage.calls.items() if name not in TASKS}


def _histogram(calls: CallStats) -> tuple[list[tuple[str, int]], float]:
    below = list(accumulate(calls.buckets))
    buckets = [(le, below[index]) for le, index in zip(LABELS, BUCKETS, strict=True)]
    return [*buckets, ("+Inf", below[-1])], calls.seconds


def _durations(snapshot: Snapshot) -> Samples:
    return (((operation,), _histogram(calls)) for operation, calls in _calls(snapshot).items())


def _waits(snapshot: Snapshot) -> Samples:
    calls = snapshot.usage.calls
    return (
        ((name.removeprefix("task_"),), _histogram(calls[name])) for name in TASKS if name in calls
    )


def _errors(snapshot: Snapshot) -> Samples:
    for operation, calls in _calls(snapshot).items():
        for error, count in calls.errors.items():
            if error not in CONDITIONS:
                yield (operation, error), count


def _conflicts(snapshot: Snapshot) -> Samples:
    for operation, calls in _calls(snapshot).items():
        for error, condition in CONDITIONS.items():
            if error in calls.errors:
                yield (operation, condition), calls.errors[error]


def _of_calls(attribute: str) -> Callable[[Snapshot], Samples]:
    return lambda snapshot: (
        ((operation,), getattr(calls, attribute)) for operation, calls in _calls(snapshot).items()
    )


def _of_caches(attribute: str) -> Callable[[Snapshot], Samples]:
    return lambda snapshot: (
        ((kind,), getattr(cache, attribute)) for kind, cache in snapshot.usage.caches.items()
    )


def _of_pool(attribute: str) -> Callable[[Snapshot], Samples]:
    def samples(snapshot: Snapshot) -> Samples:
        value = getattr(snapshot.usage.pool, attribute)
        return [] if value is None else [((), value)]

    return samples


def _of_count(attribute: str) -> Callable[[Snapshot], Samples]:
    def samples(snapshot: Snapshot) -> Samples:
        counted = snapshot.counted
        value = None if counted is None or counted.at is None else getattr(counted, attribute)
        return [] if value is None else [((), value)]

    return samples


def _of_kinds(attribute: str) -> Callable[[Snapshot], Samples]:
    return lambda snapshot: (
        ((kind.value,), getattr(stats, attribute))
        for kind, stats in (snapshot.counted or Counted()).kinds.items()
    )


def _connections(snapshot: Snapshot) -> Samples:
    pool = snapshot.usage.pool
    return [(("in_use",), pool.in_use), (("idle",), pool.idle)]


def _value_bytes(snapshot: Snapshot) -> Samples:
    moved = snapshot.usage.compression
    if moved is None:
        return []
    return [
        (("written", "plain"), moved.written),
        (("written", "stored"), moved.written_stored),
        (("read", "plain"), moved.read),
        (("read", "stored"), moved.read_stored),
    ]


def _failures(snapshot: Snapshot) -> Samples:
    return [] if snapshot.counted is None else [((), snapshot.counted.failures)]


def _counter(name: str, help: str, labels: str, samples: Callable[[Snapshot], Samples]) -> Family:
    return Family(CounterMetricFamily, name, help, tuple(labels.split()), samples)


def _gauge(name: str, help: str, labels: str, samples: Callable[[Snapshot], Samples]) -> Family:
    return Family(GaugeMetricFamily, name, help, tuple(labels.split()), samples)


def _info(snapshot: Snapshot) -> Samples:
    return [((), {"backend": snapshot.backend, "server": snapshot.server})]


FAMILIES = (
    Family(InfoMetricFamily, "storage", "What is behind a storage.", (), _info),
    Family(
        HistogramMetricFamily,
        "call_duration_seconds",
        "How long calls took, with whatever outcome; its count is the number of calls.",
        ("operation",),
        _durations,
    ),
    Family(
        HistogramMetricFamily,
        "task_wait_seconds",
        "How long tasks of statekeep.aio waited for a call, in a queue and for the store.",
        ("kind",),
        _waits,
    ),
    _counter(
        "errors",
        "Calls or transactions that failed, by the class of the error.",
        "operation error",
        _errors,
    ),
    _counter(
        "conflicts",
        "Transactions whose condition did not hold: another's version, or a lease lost.",
        "operation condition",
        _conflicts,
    ),
    _counter(
        "retries",
        "How often values.update began again, as another writer had come between.",
        "",
        lambda snapshot: [((), snapshot.usage.retries)],
    ),
    _counter(
        "call_records",
        "Keys asked for, operations committed, messages claimed, records scanned.",
        "operation",
        _of_calls("records"),
    ),
    _counter(
        "bytes_read",
        "Bytes of values, members and payloads that callers got.",
        "operation",
        _of_calls("bytes_read"),
    ),
    _counter(
        "bytes_written",
        "Bytes of values, members and payloads that callers gave.",
        "operation",
        _of_calls("bytes_written"),
    ),
    _counter(
        "value_bytes",
        "Bytes of values and payloads as callers know them (plain) and as the store does.",
        "direction form",
        _value_bytes,
    ),
    _counter("cache_hits", "Look-ups that the cache answered.", "kind", _of_caches("hits")),
    _counter("cache_misses", "Look-ups that went to the store.", "kind", _of_caches("misses")),
    _counter(
        "cache_evictions", "Entries that made room for others.", "kind", _of_caches("evictions")
    ),
    _gauge("cache_entries", "Entries in the cache.", "kind", _of_caches("size")),
    _gauge("cache_bytes", "Bytes in the cache.", "kind", _of_caches("bytes")),
    _gauge("pool_connections", "Open connections: in use or idle.", "state", _connections),
    _gauge("pool_limit", "Connections that there can be at most.", "", _of_pool("limit")),
    _gauge("pool_waiting", "Callers that wait for a connection.", "", _of_pool("waiting")),
    _counter("pool_waits", "Callers that had to wait for a connection.", "", _of_pool("waits")),
    _counter("pool_wait_timeouts", "Callers that waited in vain.", "", _of_pool("wait_timeouts")),
    _counter("pool_wait_seconds", "How long callers waited in all.", "", _of_pool("wait_seconds")),
    _counter("pool_connects", "Connections opened.", "", _of_pool("created")),
    _counter("pool_disconnects", "Connections closed again.", "", _of_pool("closed")),
    _counter("pool_connect_failures", "Attempts to connect that failed.", "", _of_pool("failed")),
    _gauge(
        "records", "Records in the store, when it was last counted.", "kind", _of_kinds("records")
    ),
    _gauge("record_bytes", "Bytes of their contents.", "kind", _of_kinds("bytes")),
    _gauge("stored_bytes", "Bytes that the store occupies.", "", _of_count("stored_bytes")),
    _gauge(
        "count_timestamp_seconds",
        "When records were last counted, in seconds since 1970.",
        "",
        _of_count("at"),
    ),
    _gauge("count_duration_seconds", "How long that took.", "", _of_count("seconds")),
    _counter("count_failures", "Counts that failed.", "", _failures),
)
"""In the order in which they are exported."""
