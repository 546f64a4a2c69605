"""What a registry asks: one collector in each, for all storages that are exported there.

A collector for each storage would not do: a metric may come only once in an answer, with the
samples of all storages under it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from attrs import frozen
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from statekeep import fork
from statekeep.errors import StorageError
from statekeep.observer import Watched, free_name

from statekeep_prometheus.counting import Counting
from statekeep_prometheus.families import Snapshot, families


@frozen(eq=False)
class Source:
    """A storage that is exported."""

    watched: Watched
    counting: Counting

    def snapshot(self, name: str) -> Snapshot:
        """Its numbers now, under this name."""
        watched = self.watched
        server = str(watched.target)
        return Snapshot(name, watched.backend_name, server, watched.usage(), self.counting.counted)


class StorageCollector(Collector):
    """The storages of one registry by their names."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def describe(self) -> Iterable[Metric]:
        """Every metric, without samples: the registry looks for clashes of names."""
        return families([])

    def collect(self) -> Iterator[Metric]:
        """Every metric with the samples of all storages."""
        return families([source.snapshot(name) for name, source in self.sources.items()])


class _Collectors:
    """The collectors by registry; those without a storage are taken out."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may close a storage meanwhile
        self._of: dict[CollectorRegistry, StorageCollector] = {}
        fork.register(self)

    def after_fork(self) -> None:
        """The lock may have been held by a thread that the child does not have."""
        self._lock = threading.RLock()

    def join(self, registry: CollectorRegistry, source: Source, name: str) -> None:
        """Exports a storage under this name, or under `name-2`, ... where it is taken.

        Raises:
            StorageError: the registry has other metrics of the same names.
        """
        with self._lock:
            collector = self._of.get(registry) or self._registered(registry)
            free = free_name(name, collector.sources)
            # replaced, not changed: a scrape may go through it
            collector.sources = {**collector.sources, free: source}

    def leave(self, registry: CollectorRegistry, source: Source) -> None:
        """Exports a storage no more."""
        with self._lock:
            collector = self._of[registry]
            left = {name: each for name, each in collector.sources.items() if each is not source}
            collector.sources = left
            if not left:
                del self._of[registry]
                registry.unregister(collector)

    def _registered(self, registry: CollectorRegistry) -> StorageCollector:
        collector = StorageCollector()
        try:
            registry.register(collector)
        except ValueError as error:
            raise StorageError(
                f"the observer prometheus cannot be registered: {error}; rename the metrics "
                "of the application that begin with statekeep_, or give it a registry of its own"
            ) from error
        self._of[registry] = collector
        return collector


_collectors = _Collectors()
join = _collectors.join
leave = _collectors.leave
