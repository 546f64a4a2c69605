"""What a store holds under given names, in pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def fitting(
    names: Sequence[T], sizes: Mapping[T, int], most: int, most_bytes: int
) -> Iterator[Sequence[T]]:
    """The names in pieces of at most so many, whose sizes add up to no more than so many bytes."""
    piece: list[T] = []
    total = 0
    for name in names:
        if piece and (len(piece) == most or total + sizes[name] > most_bytes):
            yield piece
            piece, total = [], 0
        piece.append(name)
        total += sizes[name]
    if piece:
        yield piece


def pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The same in pieces of at most this size."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
