"""The options of the observer `opentelemetry`."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from statekeep.options import Rule, not_blank, option


def _gives(method: str, what: str) -> Rule:
    """A provider can be given in code only; text from a config file is none."""
    return lambda value: (
        None
        if callable(getattr(value, method, None))
        else f"must be a {what} of OpenTelemetry, which only code can give"
    )


@frozen(kw_only=True)
class OpenTelemetryConfig:
    """What is told, and to which providers: those that the application has set up."""

    spans: bool = option(True, "a span for every call, current while the call runs")
    metrics: bool = option(True, "durations of calls, connections, caches and bytes")
    name: str | None = option(
        None,
        "what the connection pool is called in metrics; the server without it",
        not_blank,
    )
    tracer_provider: Any = option(  # noqa: RUF009  # it makes an attrs field
        None,
        "in code only: a `TracerProvider` other than the global one",
        _gives("get_tracer", "TracerProvider"),
    )
    meter_provider: Any = option(  # noqa: RUF009  # likewise
        None,
        "in code only: a `MeterProvider` other than the global one",
        _gives("get_meter", "MeterProvider"),
    )
