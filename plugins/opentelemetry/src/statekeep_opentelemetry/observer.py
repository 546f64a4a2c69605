"""The observer: a span around every call, its duration, and a place among the observed storages."""

from __future__ import annotations

from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from statekeep.observer import CallEnd, CallObserver, Watched

from statekeep_opentelemetry.config import OpenTelemetryConfig
from statekeep_opentelemetry.conventions import NAME, SCHEMA, VERSION, attributes_of, label_of
from statekeep_opentelemetry.instruments import Instruments, Source, instruments_of

BATCHES = frozenset({"get_many", "members_many", "messages_many", "transaction", "batch"})
"""Operations whose records are what was asked for or sent: a batch of that size."""

ANSWERS = frozenset({"claim", "page", "scan"})
"""Operations whose records are what came back."""


class OpenTelemetryObserver(CallObserver):
    """Attributes name no key and no value; so does the status, as errors' texts may."""

    def __init__(self, config: OpenTelemetryConfig) -> None:
        self._config = config
        self._tracer = trace.get_tracer(NAME, VERSION, config.tracer_provider, schema_url=SCHEMA)
        self._attributes: dict[str, str | int] = {}
        self._label = ""
        self._instruments: Instruments | None = None
        self._source: Source | None = None
        self._spans: dict[str, tuple[str, dict[str, str | int]]] = {}
        self._durations: dict[tuple[str, str], dict[str, str | int]] = {}

    def opened(self, watched: Watched) -> None:
        """See `Observer.opened`."""
        self._attributes = attributes_of(watched.target)
        self._label = label_of(watched.target)
        if self._config.metrics:
            name = self._config.name or str(watched.target)
            self._instruments = instruments_of(self._config.meter_provider)
            self._source = self._instruments.join(watched, name, self._attributes)

    def close(self) -> None:
        """See `Observer.close`."""
        if self._instruments is not None and self._source is not None:
            self._instruments.leave(self._source)

    def begun(self, operation: str) -> Any:
        """See `CallObserver.begun`: a span is current from now on, so that what is inside nests."""
        if not self._config.spans:
            return None
        name, attributes = self._spans.get(operation) or self._described(operation)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        return span, context.attach(trace.set_span_in_context(span))

    def ended(self, end: CallEnd, begun: Any) -> None:
        """See `CallObserver.ended`. The duration is told within the span, as its exemplar."""
        error = "" if end.error is None else type(end.error).__name__
        try:
            if self._instruments is not None:
                self._instruments.record(end.seconds, self._measured(end.operation, error))
        finally:
            if begun is not None:
                span, token = begun
                context.detach(token)
                _finish(span, end, error)

    def _described(self, operation: str) -> tuple[str, dict[str, str | int]]:
        """A span's name and first attributes; there are few operations, so they are kept."""
        attributes = {**self._attributes, "db.operation.name": operation}
        described = f"{operation} {self._label}".strip(), attributes
        self._spans[operation] = described
        return described

    def _measured(self, operation: str, error: str) -> dict[str, str | int]:
        known = self._durations.get((operation, error))
        if known is None:
            known = {**self._attributes, "db.operation.name": operation}
            if error:
                known["error.type"] = error
            self._durations[operation, error] = known
        return known


def _finish(span: Span, end: CallEnd, error: str) -> None:
    if span.is_recording():
        if end.records > 1 and end.operation in BATCHES:
            span.set_attribute("db.operation.batch.size", end.records)
        if end.operation in ANSWERS and end.error is None:
            span.set_attribute("db.response.returned_rows", end.records)
        if error:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
    span.end()
