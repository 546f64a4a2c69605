"""The observer: a place in a registry, an endpoint where one is wanted, and a counting thread."""

from __future__ import annotations

from prometheus_client import REGISTRY
from statekeep.observer import Observer, Watched

from statekeep_prometheus import collector, endpoint
from statekeep_prometheus.config import PrometheusConfig
from statekeep_prometheus.counting import Counting


class PrometheusObserver(Observer):
    """Costs the calls nothing: the numbers are read when somebody scrapes them."""

    def __init__(self, config: PrometheusConfig) -> None:
        self._config = config
        self._registry = REGISTRY if config.registry is None else config.registry
        self._counting: Counting | None = None
        self._source: collector.Source | None = None
        self._endpoint: endpoint.Endpoint | None = None

    def opened(self, watched: Watched) -> None:
        """See `Observer.opened`.

        Raises:
            StorageError: the port cannot be had, or the registry has metrics of these names.
        """
        config = self._config
        self._counting = Counting(watched, config.count_interval)
        source = collector.Source(watched, self._counting)
        collector.join(self._registry, source, config.name or watched.backend_name)
        self._source = source
        if config.port is not None:
            self._endpoint = endpoint.serve(config.host, config.port, self._registry)
        self._counting.start()

    def close(self) -> None:
        """See `Observer.close`. A scrape under way ends as it began."""
        served, self._endpoint = self._endpoint, None
        if served is not None:
            served.release()
        source, self._source = self._source, None
        if source is not None:
            collector.leave(self._registry, source)
        if self._counting is not None:
            self._counting.stop()
