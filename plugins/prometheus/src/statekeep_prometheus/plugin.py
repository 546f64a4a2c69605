"""What this package offers to statekeep."""

from __future__ import annotations

from statekeep import hookimpl
from statekeep.hookspecs import ObserverPlugin
from statekeep.observer import Observer

from statekeep_prometheus.config import PrometheusConfig


def _observer(config: PrometheusConfig) -> Observer:
    from statekeep_prometheus.observer import PrometheusObserver

    return PrometheusObserver(config)


@hookimpl
def statekeep_observers() -> list[ObserverPlugin]:
    """The observer `prometheus`."""
    return [ObserverPlugin(name="prometheus", config=PrometheusConfig, factory=_observer)]
