"""What must happen in a child after `os.fork`: locks renewed, connections left to the parent."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class ForkAware(Protocol):
    """Something that holds locks or connections."""

    def after_fork(self) -> None:
        """Called in the child, in its only thread."""


_registered: WeakSet[ForkAware] = WeakSet()


def register(target: ForkAware) -> None:
    """Has `target.after_fork()` called in every child, as long as the target lives."""
    _registered.add(target)


def _in_child() -> None:
    for target in list(_registered):
        target.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
