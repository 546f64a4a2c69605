"""Calls over pooled connections: who gets one, and what is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Generic, Protocol, TypeVar

from statekeep.errors import (
    AccessDenied,
    ConfigError,
    OutcomeUnknown,
    StorageError,
    Unavailable,
)
from statekeep.pending import Pending, Steps, begun
from statekeep.pool import Pool, Pooled

ATTEMPTS = 5
"""How often a transaction is tried that another one pushed aside."""


class Breakable(Protocol):
    """A connection that says when nothing may be sent over it any more."""

    broken: bool


C = TypeVar("C", bound=Breakable)
T = TypeVar("T")


class Contended(Unavailable):
    """Given up in favour of another transaction; nothing was applied, trying again may do."""


def concerns_all(error: StorageError) -> bool:
    """Whether it is the same for all transactions that were sent together, now and in a moment."""
    if isinstance(error, Contended):
        return False
    return isinstance(error, OutcomeUnknown | Unavailable | AccessDenied)


class Calls(Generic[C]):
    """Lends connections to functions, and calls again where that is safe."""

    def __init__(self, pool: Pool[C]) -> None:
        self.pool = pool

    def reading(self, call: Callable[[C], T]) -> T:
        """The answer to a call that changes nothing; once more where a connection broke.

        The server may have closed a connection between its check and its use.
        """
        try:
            return self.once(call)
        except Unavailable as error:
            if not _broke(error):
                raise
        return self.once(call)

    def writing(self, call: Callable[[C], T]) -> T:
        """The answer to a call that changes something; again where nothing of it was applied.

        That is: where it was pushed aside, and once where its connection broke before it was sent.
        """
        broke = False
        for attempt in range(1, ATTEMPTS):
            try:
                return self.once(call)
            except Contended:
                time.sleep(random.uniform(0, 0.002 * 2**attempt))
            except Unavailable as error:
                if broke or not _broke(error):
                    raise
                broke = True
        return self.once(call)

    def once(self, call: Callable[[C], T]) -> T:
        """The answer to a call, which leaves the connection whole or marked as broken."""
        entry = self.pool.acquire()
        try:
            return call(entry.connection)
        finally:
            self._give_back(entry)

    def starting(
        self,
        ready: Callable[[C, float], bool],
        steps: Callable[[C], Steps[T]],
    ) -> Pending[T] | None:
        """A call that is begun over an idle connection; None where none is ready, or will do.

        Args:
            ready: see `Pool.acquire_idle`.
            steps: makes the call over a connection.
        """
        entry = self.pool.acquire_idle(ready)
        if entry is None:
            return None
        return begun(steps(entry.connection), partial(self._give_back, entry))

    @contextmanager
    def connection(self) -> Iterator[C]:
        """A connection for several statements."""
        entry = self.pool.acquire()
        try:
            yield entry.connection
        except BaseException:
            # Whatever it was, a transaction may be open.
            entry.connection.broken = True
            raise
        finally:
            self._give_back(entry)

    @contextmanager
    def connection_unless(self, missing: Callable[[ConfigError], bool]) -> Iterator[C | None]:
        """As `connection`; None where connecting fails for want of the database itself."""
        try:
            entry = self.pool.acquire()
        except ConfigError as error:
            if not missing(error):
                raise
            yield None
            return
        self.pool.release(entry)
        with self.connection() as found:
            yield found

    def close(self) -> None:
        """Closes the pool."""
        self.pool.close()

    def _give_back(self, entry: Pooled[C]) -> None:
        if entry.connection.broken:
            self.pool.discard(entry)
        else:
            self.pool.release(entry)


def _broke(error: Unavailable) -> bool:
    """Whether a connection broke; not what the server said itself, nor what took a time-out."""
    cause = error.__cause__
    return isinstance(cause, OSError | EOFError) and not isinstance(cause, TimeoutError)
