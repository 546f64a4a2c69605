"""`Storage`: what applications hold on to."""

from __future__ import annotations

from types import TracebackType

from statekeep.backend import Backend, BackendStats, Capabilities
from statekeep.deferred import Deferred
from statekeep.metrics import Recorder
from statekeep.session import Session
from statekeep.sets import KeySets
from statekeep.unit import UnitOfWork
from statekeep.usage import Usage
from statekeep.values import KeyValues


class Storage:
    """Durable, versioned state over one backend. Made by `statekeep.open()`.

    One storage serves any number of threads; a forked child may go on using it. Close it, or use
    it as a context manager.

    Attributes:
        values: key-values.
        sets: key-sets.
        deferred: deferred messages.
    """

    def __init__(self, backend: Backend, recorder: Recorder | None = None) -> None:
        self._backend = backend
        self._session = Session(backend, recorder)
        self.values = KeyValues(self._session)
        self.sets = KeySets(self._session)
        self.deferred = Deferred(self._session)

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

    def transaction(self) -> UnitOfWork:
        """A block that collects operations and commits them at its end, all or nothing."""
        return UnitOfWork(self._session)

    def ping(self) -> None:
        """Returns when the store answers.

        Raises:
            Unavailable: it does not; nothing else is known.
        """
        self._backend.ping()

    def usage(self) -> Usage:
        """What this process did so far, and holds: times of calls, errors, pool, caches.

        It asks no store, and takes no longer than adding up.
        """
        return self._backend.usage()

    def stats(self) -> BackendStats:
        """`usage()`, and what is in the store: records and bytes. May read every record."""
        return self._backend.stats()

    def purge(self) -> int:
        """Removes expired values now and returns how many there were."""
        return self._backend.purge()

    def close(self) -> None:
        """Frees connections and files. Closing twice is no error; any other use is `Closed`."""
        self._backend.close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
