"""Rows to records; what is not of the right type was written by somebody else."""

from __future__ import annotations

from typing import Any

from statekeep.clock import from_micros
from statekeep.errors import CorruptValue
from statekeep.model import DeferredMessage, Entry

VALUE_TABLE = "key_value_storage"
MESSAGE_TABLE = "deferred_message_storage"
LAYOUT_TABLE = "statekeep_layout"


def entry(key: str, version: Any, expires: Any, value: Any) -> Entry:
    """The entry of a row of `key_value_storage`."""
    if type(value) is not bytes or type(version) is not int:
        raise damaged(VALUE_TABLE, key)
    if expires is None:
        return Entry(value, version)
    return Entry(value, version, _moment(expires, VALUE_TABLE, key))


def versions(key: str, version: Any, expires: Any) -> tuple[int, int | None]:
    """The version of a row of `key_value_storage` and when it expires."""
    if expires is not None:
        whole(expires, VALUE_TABLE, key)
    return whole(version, VALUE_TABLE, key), expires


def message(row: tuple[Any, ...]) -> DeferredMessage:
    """The message of a row `queue, id, due, payload, token, attempt, visible`."""
    queue, id, due, payload, token, attempt, visible = row
    name = f"{queue}/{id}"
    if type(payload) is not bytes or type(id) is not str or type(token) is not str:
        raise damaged(MESSAGE_TABLE, name)
    due, visible = (_moment(each, MESSAGE_TABLE, name) for each in (due, visible))
    attempt = whole(attempt, MESSAGE_TABLE, name)
    return DeferredMessage(queue, id, due, payload, token, attempt, visible)


def whole(number: Any, table: str, name: object) -> int:
    """A number of a row: SQLite keeps a text in a column of integers, too."""
    if type(number) is not int:
        raise damaged(table, name)
    return number


def damaged(table: str, name: object) -> CorruptValue:
    """The error for a row that this backend cannot have written."""
    return CorruptValue(
        f"the row of {name!r} in {table} holds a type that statekeep does not write: something "
        "else changed it"
    )


def _moment(micros: Any, table: str, name: str) -> Any:
    try:
        return from_micros(whole(micros, table, name))
    except OverflowError as error:
        raise damaged(table, name) from error
