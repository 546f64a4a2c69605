"""Waiting for what comes about by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def until(
    not_yet: tuple[type[Exception], ...], probe: Callable[[], T], what: str, seconds: float = 30.0
) -> T:
    """Calls `probe` until it gives something true; these errors of it count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(*not_yet):
            if found := probe():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
