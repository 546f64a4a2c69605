"""A dict whose keys can be paged through in order, sorted only when somebody asks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Any)
V = TypeVar("V")


class SortedKeys(dict[K, V], Generic[K, V]):
    """A dict that remembers its sorted keys until a key comes or goes."""

    __slots__ = ("_order",)

    def __init__(self) -> None:
        super().__init__()
        self._order: list[K] | None = None

    def __setitem__(self, key: K, value: V) -> None:
        if self._order is not None and key not in self:
            self._order = None
        super().__setitem__(key, value)

    def drop(self, key: K) -> V | None:
        """Removes a key; returns what was there, or None."""
        if key in self:
            self._order = None
        return self.pop(key, None)

    def after(self, start: K, position: K | None) -> Iterator[K]:
        """The keys from `start` on, or behind `position` where one is given, in order."""
        if self._order is None:
            self._order = sorted(self)
        order = self._order
        index = bisect_left(order, start) if position is None else bisect_right(order, position)
        return islice(order, index, None)
