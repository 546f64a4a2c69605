"""Rows to records."""

from __future__ import annotations

from typing import Any

from statekeep.clock import from_micros
from statekeep.errors import CorruptValue
from statekeep.model import DeferredMessage, Entry


def entry(key: str, version: int, expires: int | None, value: bytes) -> Entry:
    """The entry of a row of the table of values."""
    if expires is None:
        return Entry(value, version)
    try:
        return Entry(value, version, from_micros(expires))
    except OverflowError as error:
        raise _damaged(key) from error


def message(row: tuple[Any, ...]) -> DeferredMessage:
    """The message of a row `queue, id, due, payload, token, attempt, visible`."""
    queue, id, due, payload, token, attempt, visible = row
    try:
        times = from_micros(due), from_micros(visible)
    except OverflowError as error:
        raise _damaged(f"{queue}/{id}") from error
    return DeferredMessage(queue, id, times[0], payload, token, attempt, times[1])


def _damaged(name: str) -> CorruptValue:
    return CorruptValue(
        f"the row of {name!r} holds a time that statekeep does not write: something else changed it"
    )
