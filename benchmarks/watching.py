"""What it costs to be watched: counting, which is always on, and each observer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import statekeep
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from statekeep import Backend, Storage
from statekeep.layers.metrics import MetricsLayer

from benchmarks.harness import Bar, Comparison, Side, Workshop, calls
from benchmarks.workload import VALUE, fill, picks

MOST = Bar("more", 1.0, "at most 1 µs more")
"""What a call may take longer when nobody listens."""


def observers() -> dict[str, Mapping[str, Any]]:
    """Each observer as it is likely to be used; OpenTelemetry's SDK exports nowhere."""
    sdk = {
        "tracer_provider": TracerProvider(),
        "meter_provider": MeterProvider(metric_readers=[InMemoryMetricReader()]),
    }
    return {
        "logging": {"logging": {}},
        "prometheus": {"prometheus": {"registry": CollectorRegistry(), "count_interval": 0}},
        "opentelemetry, no SDK": {"opentelemetry": {}},
        "opentelemetry, metrics": {"opentelemetry": {**sdk, "spans": False}},
        "opentelemetry, spans and metrics": {"opentelemetry": sdk},
    }


def watching(workshop: Workshop) -> Iterator[Comparison]:
    """The memory backend, which answers at once: so what is added stands out."""
    with statekeep.open("memory:") as storage:
        bare = Storage(uncounted(storage.backend))
        fill(storage)
        yield Comparison("counted get", *_gets(storage, bare), MOST)
        yield Comparison("counted put", *_puts(storage, bare), MOST)
        yield Comparison("counted transaction of 10", *_transactions(storage, bare), MOST)
        for name, options in observers().items():
            with statekeep.open("memory:", observers=options) as watched:
                fill(watched)
                yield Comparison(f"get observed by {name}", *_gets(watched, bare))


def uncounted(backend: Backend) -> Backend:
    """What lies below the layer that counts."""
    assert isinstance(backend, MetricsLayer)
    return backend.inner


def _gets(ours: Storage, theirs: Storage) -> tuple[Side, Side]:
    return (
        Side("values.get", calls(ours.values.get, picks())),
        Side("not counted", calls(theirs.values.get, picks())),
    )


def _puts(ours: Storage, theirs: Storage) -> tuple[Side, Side]:
    return (
        Side("values.put", calls(lambda key: ours.values.put(key, VALUE), picks())),
        Side("not counted", calls(lambda key: theirs.values.put(key, VALUE), picks())),
    )


def _transactions(ours: Storage, theirs: Storage) -> tuple[Side, Side]:
    def ten(storage: Storage, key: str) -> None:
        with storage.transaction() as tx:
            for number in range(10):
                tx.put(f"{key}/{number}", VALUE)

    return (
        Side("storage.transaction", calls(lambda key: ten(ours, key), picks())),
        Side("not counted", calls(lambda key: ten(theirs, key), picks())),
    )
