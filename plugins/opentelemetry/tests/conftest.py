"""Providers that keep in memory what they are told; they are global, so each process has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import statekeep
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from statekeep import Storage

from tests.servers.redis import RedisProcess

Open = Callable[..., Storage]
Points = dict[frozenset[tuple[str, Any]], Any]


class Told:
    """What the providers were told."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(MeterProvider(metric_readers=[self._reader]))

    def clear(self) -> None:
        """Forgets the spans; metrics go on."""
        self._exporter.clear()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended, in this order."""
        return self._exporter.get_finished_spans()

    def names(self) -> set[str]:
        """The metrics that have points."""
        return {metric.name for metric in self._metrics() if metric.data.data_points}

    def points(self, name: str, **attributes: object) -> Points:
        """The points of a metric that have these attributes, dots written as `__`."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}.items()
        return {
            frozenset(point.attributes.items()): point
            for metric in self._metrics()
            if metric.name == name
            for point in metric.data.data_points
            if wanted <= point.attributes.items()
        }

    def point(self, name: str, **attributes: object) -> Any:
        """The only one that has these attributes."""
        (point,) = self.points(name, **attributes).values()
        return point

    def _metrics(self) -> Iterator[Any]:
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                yield from scope.metrics


@pytest.fixture(scope="session")
def providers() -> Told:
    """The global providers."""
    return Told()


@pytest.fixture
def told(providers: Told) -> Told:
    """What is told from the beginning of the test."""
    providers.clear()
    return providers


@pytest.fixture(scope="session")
def server() -> Iterator[RedisProcess]:
    """A server for tests that leave it as it was."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def observed(told: Told, tmp_path: Path) -> Iterator[Open]:
    """Opens observed storages, on a file of the test's own by default; closes them at the end."""
    with ExitStack() as stack:

        def make(backend: dict[str, Any] | None = None, **options: Any) -> Storage:
            config = backend or {"sqlite": {"path": str(tmp_path / "state.db")}}
            storage = stack.enter_context(
                statekeep.open({**config, "observers": {"opentelemetry": options}})
            )
            told.clear()
            return storage

        yield make
