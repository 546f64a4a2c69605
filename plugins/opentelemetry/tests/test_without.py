"""Without an SDK, and with one that fails: calls go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WITHOUT_AN_SDK = """
import sys, statekeep
with statekeep.open("sqlite:///state.db", observers={"opentelemetry": {}}) as storage:
    storage.values.put("k", b"v")
    assert storage.values.get("k").value == b"v"
assert "opentelemetry.sdk" not in sys.modules
"""

SET_UP_LATER = """
import statekeep
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

with statekeep.open("sqlite:///state.db", observers={"opentelemetry": {}}) as storage:
    storage.ping()
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    trace.set_tracer_provider(TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(spans))
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    storage.values.get("k")
    (span,) = spans.get_finished_spans()
    assert span.name.startswith("get ")
    told = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    names = {metric.name for metric in told}
    assert {"db.client.operation.duration", "statekeep.records"} <= names, names
"""

FAILING = """
import logging, statekeep
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

class Failing(SpanProcessor):
    def on_start(self, span, parent_context=None):
        if span.name.startswith("put"):
            raise RuntimeError("the processor fails")
    def on_end(self, span):
        raise RuntimeError("the processor fails")

logging.basicConfig(format="%(message)s")
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(Failing())
with statekeep.open("sqlite:///state.db", observers={"opentelemetry": {}}) as storage:
    for number in range(5):
        storage.values.put(f"k{number}", b"v")
        assert storage.values.get(f"k{number}").value == b"v"
    assert storage.usage().calls["put"].count == storage.usage().calls["get"].count == 5
    assert not trace.get_current_span().get_span_context().is_valid
"""


def run(program: str, folder: Path) -> str:
    """Runs a program of its own, as providers are global; its errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_without_an_sdk_nothing_is_recorded_and_nothing_fails(tmp_path: Path) -> None:
    """Only the API is needed; the SDK is not even imported."""
    assert run(WITHOUT_AN_SDK, tmp_path) == ""


def test_providers_may_be_set_up_after_the_storage_was_opened(tmp_path: Path) -> None:
    """From then on they are told."""
    assert run(SET_UP_LATER, tmp_path) == ""


def test_a_provider_that_fails_disturbs_no_call(tmp_path: Path) -> None:
    """Where spans begin or where they end; it is logged once."""
    logged = run(FAILING, tmp_path)
    assert logged.count("RuntimeError: the processor fails") == 1
