"""What a store holds under given names, in pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from statekeep.backend import Backend
from statekeep.model import DeferredMessage, KeyValueRecord

T = TypeVar("T")

AT_ONCE = 500
"""Names of one call: what they hold may be larger than what was read of them elsewhere."""


def values(backend: Backend, keys: Sequence[str]) -> dict[str, KeyValueRecord]:
    """The values of these keys, absent ones left out."""
    found: dict[str, KeyValueRecord] = {}
    for piece in pieces(keys, AT_ONCE):
        for key, entry in backend.get_many(piece).items():
            found[key] = KeyValueRecord(key, entry)
    return found


def messages(
    backend: Backend, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], DeferredMessage]:
    """The messages of these names, absent ones left out."""
    found: dict[tuple[str, str], DeferredMessage] = {}
    for piece in pieces(names, AT_ONCE):
        found |= backend.messages_many(piece)
    return found


def has_members(backend: Backend, keys: Sequence[str]) -> frozenset[str]:
    """Those of these keys that have a set."""
    return frozenset(key for key in keys if backend.members(key, limit=1, cursor=None).items)


def pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The same in pieces of at most this size."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
