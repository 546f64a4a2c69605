"""`set members`, `set add`, `set remove`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from statekeep.cli import text
from statekeep.cli.call import Call, command, group
from statekeep.cli.exits import No
from statekeep.cli.output import Row
from statekeep.storage import Storage

app = group("set", "Key-sets: members by key.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="The set's key.", show_default=False)]
Members = Annotated[
    list[str], typer.Argument(metavar="MEMBER...", help="Text, or as the options say.")
]
Hex = Annotated[bool, typer.Option("--hex", help="Members are hexadecimal.")]
Base64 = Annotated[bool, typer.Option("--base64", help="Members are base64.")]


def members(call: Call, key: Key, hex: Hex = False, base64: Base64 = False) -> None:
    """List the members of a set.

    Exit code 1 where there is no such set.
    """
    show = _shown(hex, base64)
    with call.storage() as storage:
        if not call.out.rows(("member",), _members(storage, key, show)):
            raise No(f"there is no set {text.printable(key)!r}")


def add(call: Call, key: Key, members: Members, hex: Hex = False, base64: Base64 = False) -> None:
    """Add members; those that are there stay."""
    given = _read(members, hex, base64)
    with call.storage(create=True) as storage:
        storage.sets.add(key, *given)
    call.out.done({"key": key, "added": len(given)}, f"{key} holds {_counted(given)}")


def remove(
    call: Call, key: Key, members: Members, hex: Hex = False, base64: Base64 = False
) -> None:
    """Remove members; no error for those that are not there."""
    given = _read(members, hex, base64)
    with call.storage() as storage:
        storage.sets.remove(key, *given)
    call.out.done({"key": key, "removed": len(given)}, f"{key} is without {_counted(given)}")


def _members(storage: Storage, key: str, show: Callable[[bytes], bytes]) -> Iterator[Row]:
    for page in storage.sets.pages(key):
        for member in page.items:
            yield {"member": show(member)}


def _read(members: list[str], hex: bool, base64: bool) -> list[bytes]:
    _one_of(hex, base64)
    read = text.unhex if hex else text.unbase64 if base64 else text.typed
    return list(dict.fromkeys(map(read, members)))


def _shown(hex: bool, base64: bool) -> Callable[[bytes], bytes]:
    _one_of(hex, base64)
    if hex:
        return lambda member: member.hex().encode()
    return text.rebase64 if base64 else lambda member: member


def _one_of(hex: bool, base64: bool) -> None:
    if hex and base64:
        raise typer.BadParameter("give --hex or --base64, not both")


def _counted(members: list[bytes]) -> str:
    return "that member" if len(members) == 1 else f"those {len(members)} members"


command(app, "members")(members)
command(app, "add")(add)
command(app, "remove")(remove)
