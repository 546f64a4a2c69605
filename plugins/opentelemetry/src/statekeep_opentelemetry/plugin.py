"""What this package offers to statekeep."""

from __future__ import annotations

from statekeep import hookimpl
from statekeep.hookspecs import ObserverPlugin
from statekeep.observer import Observer

from statekeep_opentelemetry.config import OpenTelemetryConfig


def _observer(config: OpenTelemetryConfig) -> Observer:
    from statekeep_opentelemetry.observer import OpenTelemetryObserver

    return OpenTelemetryObserver(config)


@hookimpl
def statekeep_observers() -> list[ObserverPlugin]:
    """The observer `opentelemetry`."""
    return [ObserverPlugin(name="opentelemetry", config=OpenTelemetryConfig, factory=_observer)]
