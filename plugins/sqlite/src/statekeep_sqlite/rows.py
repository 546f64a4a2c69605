"""Rows to records; what is not of the right type was written by somebody else."""

from __future__ import annotations

from typing import Any

from statekeep.clock import from_micros
from statekeep.errors import CorruptValue
from statekeep.model import DeferredMessage, Entry


def entry(key: str, version: int, expires: int | None, value: bytes) -> Entry:
    """The entry of a row of `key_value_storage`."""
    if type(value) is not bytes:
        raise damaged("key_value_storage", key)
    if expires is None:
        return Entry(value, version)
    if type(expires) is not int:
        raise damaged("key_value_storage", key)
    return Entry(value, version, _moment(expires, "key_value_storage", key))


def message(row: tuple[Any, ...]) -> DeferredMessage:
    """The message of a row `queue, id, due, payload, token, attempt, visible`."""
    queue, id, due, payload, token, attempt, visible = row
    name = f"{queue}/{id}"
    if type(payload) is not bytes or type(attempt) is not int:
        raise damaged("deferred_message_storage", name)
    moments = (_moment(each, "deferred_message_storage", name) for each in (due, visible))
    due, visible = moments
    return DeferredMessage(queue, id, due, payload, token, attempt, visible)


def damaged(table: str, name: object) -> CorruptValue:
    """The error for a row that this backend cannot have written."""
    return CorruptValue(
        f"the row of {name!r} in {table} holds a type that statekeep does not write: something "
        "else changed it"
    )


def _moment(micros: Any, table: str, name: str) -> Any:
    try:
        return from_micros(micros)
    except (TypeError, OverflowError) as error:
        raise damaged(table, name) from error
