"""The contract of an observer: what watches a storage from inside the process that uses it.

A storage counts and times its own calls anyway (`statekeep.metrics`): an observer that only passes
numbers on reads `Watched.usage()` when it is asked, and costs the calls nothing. One that wants
to know of every call, such as a tracer, is a `CallObserver`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from itertools import count
from typing import Any, Protocol

from attrs import frozen

from statekeep.backend import BackendStats, Target
from statekeep.usage import Usage


class Watched(Protocol):
    """What an observer may ask, from any thread, as long as it was not closed."""

    @property
    def backend_name(self) -> str:
        """The backend's name in the config, such as `postgres`."""

    @property
    def target(self) -> Target:
        """Where the store is."""

    def usage(self) -> Usage:
        """What this process did and holds; asks no store and never waits, even when closed."""

    def stats(self) -> BackendStats:
        """Records and bytes by kind, besides; asks the store, which may take long."""


class Observer(ABC):
    """Watches one storage. Made by its factory when the storage is opened."""

    @abstractmethod
    def opened(self, watched: Watched) -> None:
        """The storage can be used from now on.

        Raises:
            StorageError: it cannot be watched (a port that is taken, ...); the storage is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """The storage is about to be closed; may come twice, and without `opened`."""


@frozen
class CallEnd:
    """A call that has ended.

    Attributes:
        operation: `get`, `get_many`, `put`, `transaction`, ...: the names in `Usage.calls`.
        seconds: how long it took.
        records: keys asked for, operations committed, messages claimed, records scanned.
        error: what it raised, or the error of the only transaction that was not applied
            (`VersionConflict`, `LeaseLost`, ...); None where it succeeded.
    """

    operation: str
    seconds: float
    records: int
    error: BaseException | None


class CallObserver(Observer):
    """An observer that is told of every call, in the thread and the context that makes it.

    Where calls of several tasks travel together (`statekeep.aio`), that is one call in a thread of
    statekeep's own, without a context. A call that travels alone has the context of its caller.
    What these methods raise is logged once and forgotten: watching disturbs no call.
    """

    @abstractmethod
    def begun(self, operation: str) -> Any:
        """A call begins; whatever is returned is handed to `ended`."""

    @abstractmethod
    def ended(self, end: CallEnd, begun: Any) -> None:
        """The call has ended, well or not."""


def free_name(wanted: str, taken: Container[str]) -> str:
    """A name for one more of several storages: as wanted, else with `-2`, `-3`, ... behind."""
    names = (wanted if number == 1 else f"{wanted}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)
