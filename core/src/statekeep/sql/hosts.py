"""Several servers of which one will do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from statekeep.errors import StorageError, Unavailable

A = TypeVar("A")
C = TypeVar("C")

LEAST = 0.05
"""Seconds that even the last server of a list gets."""


class Hosts(Generic[A]):
    """Addresses in the order in which they are tried; the one that did comes first from then on."""

    def __init__(self, addresses: Iterable[A]) -> None:
        self._addresses = list(addresses)

    def __str__(self) -> str:
        return ",".join(map(str, self._addresses))

    def connect(self, dial: Callable[[A, float], C], timeout: float, each: float) -> C:
        """What `dial` makes of the first address that will do.

        Args:
            dial: connects to an address within so many seconds.
            timeout: seconds for all of them together.
            each: seconds for one of them.

        Raises:
            Unavailable: no server will do; every one is named with its reason. Whatever else `dial`
                raises is raised as it is.
        """
        deadline = time.monotonic() + timeout
        problems: list[str] = []
        cause: StorageError | None = None
        for address in tuple(self._addresses):
            left = min(deadline - time.monotonic(), each)
            try:
                connection = dial(address, max(LEAST, left))
            except Unavailable as error:
                problems.append(str(error))
                cause = error
                continue
            # The next connection begins where this one succeeded: the others may be dead.
            others = [other for other in self._addresses if other is not address]
            self._addresses = [address, *others]  # anew, as other threads connect, too
            return connection
        if len(problems) == 1 and cause is not None:
            raise cause
        raise Unavailable("no server will do: " + "; ".join(problems)) from cause
