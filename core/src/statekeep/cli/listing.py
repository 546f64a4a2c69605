"""`list`: every record of one kind, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import islice
from typing import Annotated

import typer

from statekeep import validate
from statekeep.backend import Backend
from statekeep.cli.call import Call, command
from statekeep.cli.output import Row
from statekeep.cli.text import iso
from statekeep.cli.values import described
from statekeep.model import DeferredMessage, KeyValueRecord, Record, RecordKind
from statekeep.session import PAGE


class Kind(Enum):
    """What `--kind` says."""

    VALUES = "values"
    SETS = "sets"
    DEFERRED = "deferred"


KINDS = {
    Kind.VALUES: (RecordKind.KEY_VALUE, ("key", "version", "size", "expires")),
    Kind.SETS: (RecordKind.KEY_SET, ("key",)),
    Kind.DEFERRED: (RecordKind.DEFERRED, ("queue", "id", "due", "visible", "attempt", "size")),
}
"""Of each kind: what is scanned, and the columns that people see."""


def records(backend: Backend, kind: RecordKind, prefix: str, limit: int | None) -> Iterator[Record]:
    """The records of a kind, page by page, at most `limit` of them."""
    cursor, left = None, limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = backend.scan(kind, prefix=prefix, limit=size, cursor=cursor)
        yield from islice(page.items, left)
        cursor, left = page.cursor, None if left is None else left - len(page.items)
        if cursor is None:
            return


def message_row(message: DeferredMessage) -> Row:
    """A message without its payload and its token: a token is for its holder."""
    return {
        "queue": message.queue,
        "id": message.id,
        "due": iso(message.due),
        "visible": iso(message.visible),
        "attempt": message.attempt,
        "size": len(message.payload),
    }


def list_(
    call: Call,
    prefix: Annotated[
        str, typer.Argument(help="Only names that begin so.", show_default=False)
    ] = "",
    kind: Annotated[Kind, typer.Option("--kind", help="What to list.")] = Kind.VALUES,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = None,
    values: Annotated[
        bool, typer.Option("--values", help="The values or payloads, too.", show_default=False)
    ] = False,
) -> None:
    """List what is stored, with versions and sizes."""
    record_kind, columns = KINDS[kind]
    content = "payload" if kind is Kind.DEFERRED else "value"
    shown = values and kind is not Kind.SETS
    with call.storage() as storage:
        found = records(storage.backend, record_kind, validate.prefix(prefix), limit)
        rows = (_row(record, content if shown else None) for record in found)
        call.out.rows((*columns, content) if shown else columns, rows)


def _row(record: Record, content: str | None) -> Row:
    if isinstance(record, KeyValueRecord):
        row, data = described(record.key, record.entry), record.entry.value
    elif isinstance(record, DeferredMessage):
        row, data = message_row(record), record.payload
    else:
        return {"key": record.key}
    return {**row, content: data} if content else row


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    command(app, "list")(list_)
