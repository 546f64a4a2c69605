"""The instruments, one set for all storages of a provider: a name may be registered only once.

Those of usage are observed when the application's reader collects, and cost the calls nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from weakref import WeakKeyDictionary

from attrs import frozen
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
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


class Instruments:
    """Those of one provider, and the storages that they tell of now.

    Attributes:
        record: takes the duration of a call in seconds and its attributes.
    """

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.RLock()  # a signal handler may close a storage meanwhile
        self._sources: tuple[Source, ...] = ()
        makers = {
            Kind.GROWS: meter.create_observable_counter,
            Kind.CHANGES: meter.create_observable_up_down_counter,
        }
        for each in INSTRUMENTS:
            makers[each.kind](each.name, [self._callback(each)], each.unit, each.description)
        duration = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self.record = duration.record
        fork.register(self)

    def after_fork(self) -> None:
        """The lock may have been held by a thread that the child does not have."""
        self._lock = threading.RLock()

    def join(self, watched: Watched, name: str, attributes: Attributes) -> Source:
        """Tells of a storage from now on."""
        with self._lock:
            pool = free_name(name, [each.pool for each in self._sources])
            source = Source(watched, pool, attributes)
            self._sources = (*self._sources, source)
            return source

    def leave(self, source: Source) -> None:
        """Tells of a storage no more."""
        with self._lock:
            self._sources = tuple(each for each in self._sources if each is not source)

    def _callback(
        self, instrument: Instrument
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for source in self._sources:
                own = {"db.client.connection.pool.name": source.pool}
                for labels, value in instrument.samples(source.watched.usage()):
                    yield Observation(value, {**source.attributes, **own, **labels})

        return observe


class _Providers:
    """The instruments by provider, made when they are needed and kept: none can be taken back."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._of_global: Instruments | None = None
        self._of: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()
        fork.register(self)

    def after_fork(self) -> None:
        """As with the instruments' own lock."""
        self._lock = threading.RLock()

    def instruments_of(self, provider: MeterProvider | None) -> Instruments:
        """Those of a provider; None for the global one, which may be set up later."""
        with self._lock:
            found = self._of_global if provider is None else self._of.get(provider)
            if found is None:
                found = Instruments(metrics.get_meter(NAME, VERSION, provider, SCHEMA))
                if provider is None:
                    self._of_global = found
                else:
                    self._of[provider] = found
            return found


_providers = _Providers()
instruments_of = _providers.instruments_of
