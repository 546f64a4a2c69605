"""The instruments, one set for all storages of the process: a name may be registered only once.

Those of usage are observed when the application's reader collects, and cost the calls nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from attrs import frozen
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from statekeep import fork
from statekeep.observer import Watched, free_name

from statekeep_opentelemetry.conventions import DURATION_BUCKETS, NAME, SCHEMA, VERSION
from statekeep_opentelemetry.observed import INSTRUMENTS, Instrument, Kind

Attributes = Mapping[str, str | int]


@frozen(eq=False)
class Source:
    """A storage that is observed.

    Attributes:
        watched: where its numbers come from.
        pool: what its connection pool is called; no other storage of the process has the name.
        attributes: of the server.
    """

    watched: Watched
    pool: str
    attributes: Attributes


class _Storages:
    """The storages that are observed now, and the instruments, made with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: tuple[Source, ...] = ()
        self._duration: Histogram | None = None
        fork.register(self)

    def after_fork(self) -> None:
        """The lock may have been held by a thread that the child does not have."""
        self._lock = threading.Lock()

    def join(self, watched: Watched, name: str, attributes: Attributes) -> Source:
        """Observes a storage from now on."""
        with self._lock:
            if self._duration is None:
                self._duration = self._made(metrics.get_meter(NAME, VERSION, schema_url=SCHEMA))
            pool = free_name(name, [each.pool for each in self._sources])
            source = Source(watched, pool, attributes)
            self._sources = (*self._sources, source)
            return source

    def leave(self, source: Source) -> None:
        """Observes a storage no more."""
        with self._lock:
            self._sources = tuple(each for each in self._sources if each is not source)

    def record(self, seconds: float, attributes: Attributes) -> None:
        """A call took so long."""
        if self._duration is not None:
            self._duration.record(seconds, attributes)

    def _made(self, meter: Meter) -> Histogram:
        makers = {
            Kind.GROWS: meter.create_observable_counter,
            Kind.CHANGES: meter.create_observable_up_down_counter,
        }
        for each in INSTRUMENTS:
            makers[each.kind](each.name, [self._callback(each)], each.unit, each.description)
        return meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )

    def _callback(
        self, instrument: Instrument
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for source in self._sources:
                own = {"db.client.connection.pool.name": source.pool}
                for labels, value in instrument.samples(source.watched.usage()):
                    yield Observation(value, {**source.attributes, **own, **labels})

        return observe


_storages = _Storages()
join = _storages.join
leave = _storages.leave
record = _storages.record
