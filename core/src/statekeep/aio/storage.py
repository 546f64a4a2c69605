"""`AsyncStorage`: what asynchronous applications hold on to."""

from __future__ import annotations

from types import TracebackType

from attrs import asdict, evolve

from statekeep.aio.deferred import AsyncDeferred
from statekeep.aio.session import AsyncSession
from statekeep.aio.sets import AsyncKeySets
from statekeep.aio.twins import twin_of
from statekeep.aio.unit import AsyncUnitOfWork
from statekeep.aio.values import AsyncKeyValues
from statekeep.backend import Backend, BackendStats, Capabilities
from statekeep.metrics import Recorder
from statekeep.storage import Storage
from statekeep.usage import Usage


@twin_of(Storage)
class AsyncStorage:
    """Durable, versioned state over one backend. Made by `statekeep.aio.open()`.

    One storage serves any number of tasks of one event loop: what they ask for at the same time
    travels together. Close it, or use it as a context manager.

    Attributes:
        values: key-values.
        sets: key-sets.
        deferred: deferred messages.
    """

    def __init__(self, backend: Backend, recorder: Recorder | None = None) -> None:
        self._backend = backend
        self._session = AsyncSession(backend, recorder)
        self.values = AsyncKeyValues(self._session)
        self.sets = AsyncKeySets(self._session)
        self.deferred = AsyncDeferred(self._session)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend, as configured, promises."""
        return self._backend.capabilities

    @property
    def backend(self) -> Backend:
        """The composed backend, for tools that work record by record; applications need it not."""
        return self._backend

    @property
    def recorder(self) -> Recorder:
        """Where calls are counted, for another surface over the same backend."""
        return self._session.recorder

    def transaction(self) -> AsyncUnitOfWork:
        """See `Storage.transaction`."""
        return AsyncUnitOfWork(self._session)

    async def ping(self) -> None:
        """See `Storage.ping`."""
        await self._session.call(self._backend.ping)

    def usage(self) -> Usage:
        """See `Storage.usage`."""
        return self._backend.usage()

    async def stats(self) -> BackendStats:
        """See `Storage.stats`."""
        found = await self._session.upkeep(self._backend.stats)
        counters = asdict(self._session.counters())
        batching = {f"batching.{name}": count for name, count in counters.items()}
        return evolve(found, details={**found.details, **batching})

    async def purge(self) -> int:
        """See `Storage.purge`."""
        return await self._session.upkeep(self._backend.purge)

    async def close(self) -> None:
        """See `Storage.close`."""
        await self._session.close()

    async def __aenter__(self) -> AsyncStorage:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
