"""`get`, `put`, `delete`: one value at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from statekeep.cli import text
from statekeep.cli.call import Call, command
from statekeep.cli.exits import No
from statekeep.cli.output import Row
from statekeep.model import Entry

Key = Annotated[str, typer.Argument(metavar="KEY", help="1 to 1024 bytes.", show_default=False)]
Expected = Annotated[
    int | None,
    typer.Option(
        "--expected", metavar="N", min=0, help="Only if the key is at this version; 0: absent."
    ),
]


def described(key: str, entry: Entry) -> Row:
    """A value without its content."""
    return {
        "key": key,
        "version": entry.version,
        "size": len(entry.value),
        "expires": text.iso(entry.expires),
    }


def get(
    call: Call,
    key: Key,
    meta: Annotated[
        bool, typer.Option("--meta", help="Its version, size and expiry, not its content.")
    ] = False,
) -> None:
    """Write a value to stdout, byte by byte.

    Exit code 1 where there is none.
    """
    with call.storage() as storage:
        entry = storage.values.get(key)
    if entry is None:
        raise No(f"{text.printable(key)!r} is absent")
    if meta:
        call.out.record(described(key, entry))
    elif call.out.as_json:
        call.out.record({**described(key, entry), "value": entry.value})
    else:
        call.out.raw(entry.value)


def put(
    call: Call,
    key: Key,
    value: Annotated[
        str | None,
        typer.Argument(metavar="[VALUE|-]", help="The text; - or nothing: what stdin holds."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="Read the value from a file.")
    ] = None,
    expected: Expected = None,
    ttl: Annotated[
        timedelta | None,
        typer.Option(
            "--ttl", metavar="TIME", parser=text.duration, help="How long it lives: 30s, 5m, 1d."
        ),
    ] = None,
) -> None:
    """Store a value and print its new version."""
    data = text.content(value, file, "value", piped=True)
    if data is None:
        raise typer.BadParameter("no value: give VALUE, --file PATH, or pipe it in")
    with call.storage(create=True) as storage:
        version = storage.values.put(key, data, expected=expected, ttl=ttl)
    if call.out.as_json:
        call.out.record({"key": key, "version": version})
    else:
        call.out.line(str(version))


def delete(call: Call, key: Key, expected: Expected = None) -> None:
    """Remove a value.

    Exit code 1 where there is none.
    """
    with call.storage() as storage:
        found = storage.values.delete(key, expected=expected)
    if not found:
        raise No(f"{text.printable(key)!r} was absent already")
    call.out.done({"key": key, "deleted": True}, f"deleted {key}")


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    command(app, "get")(get)
    command(app, "put")(put)
    command(app, "delete")(delete)
