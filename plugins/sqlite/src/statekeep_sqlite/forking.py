"""No SQLite connection may cross a fork, not even idle or to be closed in the child.

SQLite keeps its file locks in a table of the process. A child inherits the table but not the
locks, so a connection that it opens to the same file would believe in locks that nobody holds, and
another process could delete the log below it (https://www.sqlite.org/howtocorrupt.html, 2.6). So
every connection is closed before a fork, and opened again on demand on both sides.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """Something that holds connections."""

    def before_fork(self) -> None:
        """Called before a fork, in the thread that forks."""

    def after_fork_in_parent(self) -> None:
        """Called after it, in the same thread."""

    def after_fork(self) -> None:
        """Called in the child, in its only thread."""


class _Forks:
    """The fork under way: one at a time, or the locks taken for one would be freed by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: WeakSet[ForkAware] = WeakSet()
        self._told: list[ForkAware] = []

    def register(self, target: ForkAware) -> None:
        """Has the target told of every fork, as long as it lives."""
        self._registered.add(target)

    def before(self) -> None:
        """Tells all that a fork comes."""
        self._lock.acquire()
        for target in list(self._registered):
            self._told.append(target)
            target.before_fork()

    def in_parent(self) -> None:
        """Tells the same ones that it is over."""
        while self._told:
            self._told.pop().after_fork_in_parent()
        self._lock.release()

    def in_child(self) -> None:
        """Tells the same ones that they are in a child now."""
        self._lock = threading.Lock()
        while self._told:
            self._told.pop().after_fork()


_forks = _Forks()
register = _forks.register

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks.before,
        after_in_parent=_forks.in_parent,
        after_in_child=_forks.in_child,
    )
