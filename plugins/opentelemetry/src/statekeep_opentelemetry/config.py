"""The options of the observer `opentelemetry`."""

from __future__ import annotations

from attrs import frozen
from statekeep.options import not_blank, option


@frozen(kw_only=True)
class OpenTelemetryConfig:
    """What is told to the providers that the application has set up."""

    spans: bool = option(True, "a span for every call, current while the call runs")
    metrics: bool = option(True, "durations of calls, connections, caches and bytes")
    name: str | None = option(
        None,
        "what the connection pool is called in metrics; the server without it",
        not_blank,
    )
