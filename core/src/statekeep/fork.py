"""What must happen around `os.fork`: locks renewed, connections left to the parent or closed."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """Something that holds locks or connections."""

    def after_fork(self) -> None:
        """Called in the child, in its only thread."""


class Pausing(ForkAware, Protocol):
    """Something that comes to rest before a fork, so that the child's copy is whole."""

    def before_fork(self) -> None:
        """Called before a fork, in the thread that forks."""

    def after_fork_in_parent(self) -> None:
        """Called after it, in the same thread."""


class _Forks:
    """The fork under way: one at a time, or the locks taken for one would be freed by another."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._registered: WeakSet[ForkAware] = WeakSet()
        self._pausing: WeakSet[Pausing] = WeakSet()
        self._paused: list[Pausing] = []

    def register(self, target: ForkAware) -> None:
        """Has `target.after_fork()` called in every child, as long as the target lives."""
        with self._lock:  # a fork goes through all of them
            self._registered.add(target)

    def register_pausing(self, target: Pausing) -> None:
        """Has the target told before and after every fork, as long as it lives."""
        with self._lock:
            self._pausing.add(target)

    def before(self) -> None:
        """Tells those that pause that a fork comes."""
        self._lock.acquire()
        for target in list(self._pausing):
            self._paused.append(target)
            target.before_fork()

    def in_parent(self) -> None:
        """Tells the same ones that it is over."""
        while self._paused:
            self._paused.pop().after_fork_in_parent()
        self._lock.release()

    def in_child(self) -> None:
        """Tells the same ones, and all that do not pause, that they are in a child now."""
        self._lock = threading.RLock()
        while self._paused:
            self._paused.pop().after_fork()
        for target in list(self._registered):
            target.after_fork()


_forks = _Forks()
register = _forks.register
register_pausing = _forks.register_pausing

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks.before,
        after_in_parent=_forks.in_parent,
        after_in_child=_forks.in_child,
    )
