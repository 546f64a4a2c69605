"""The contract of a cache: what the caching layer keeps entries and sets in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class CacheStats:
    """Counters since the cache was made, and its present size in entries and bytes."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    size: int = 0
    bytes: int = 0


class Cache(ABC):
    """A bounded map from keys to immutable values, in this process. Called from any thread.

    Nothing here waits for a disk or a network: event loops call `get`.

    It may forget anything at any time, by its own policy of size and age.
    """

    @abstractmethod
    def get(self, key: str) -> Any | None:
        """What was put last, or None where it was forgotten."""

    @abstractmethod
    def put(self, key: str, value: Any, size: int) -> None:
        """Keeps a value of about `size` bytes."""

    @abstractmethod
    def discard(self, key: str) -> None:
        """Forgets a key; no error where there is none."""

    @abstractmethod
    def clear(self) -> None:
        """Forgets everything."""

    @abstractmethod
    def stats(self) -> CacheStats:
        """Hits, misses, evictions, size."""
