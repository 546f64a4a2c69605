"""A surface and its asynchronous twin: the docs are written once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

S = TypeVar("S", bound=type)


def twin_of(original: type) -> Callable[[S], S]:
    """Gives each public method the docs that the original's method of the same name has.

    `core/tests/test_aio_twins.py` holds that methods and signatures are the same, too.
    """

    def document(surface: S) -> S:
        for name, method in vars(surface).items():
            if not name.startswith("_") and hasattr(original, name):
                source = getattr(original, name)
                if callable(method):
                    method.__doc__ = source.__doc__
        return surface

    return document
