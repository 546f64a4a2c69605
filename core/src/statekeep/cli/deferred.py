"""`deferred schedule|list|claim|ack|release|extend|cancel`."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from statekeep import validate
from statekeep.cli import text
from statekeep.cli.call import Call, command, group
from statekeep.cli.exits import No
from statekeep.cli.listing import message_row, records
from statekeep.cli.output import Row
from statekeep.clock import EPOCH
from statekeep.deferred import LEASE
from statekeep.model import DeferredMessage, Record, RecordKind

app = group("deferred", "Messages that are delivered later, such as timers.")

Queue = Annotated[str, typer.Argument(metavar="QUEUE", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Token = Annotated[
    str, typer.Argument(metavar="TOKEN", help="What claim printed.", show_default=False)
]
Lease = Annotated[
    timedelta | None,
    typer.Option(
        "--lease", metavar="TIME", parser=text.duration, help="Nobody else gets it so long. [30s]"
    ),
]


def schedule(
    call: Call,
    queue: Queue,
    id: Id,
    payload: Annotated[
        str | None,
        typer.Argument(metavar="[PAYLOAD|-]", help="The text; - for stdin; none: empty."),
    ] = None,
    after: Annotated[
        timedelta | None,
        typer.Option("--in", metavar="TIME", parser=text.duration, help="From now: 30s, 5m, 1d."),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option("--at", metavar="ISO8601", parser=text.moment, help="With its zone."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="PATH", help="Read the payload from a file.")
    ] = None,
) -> None:
    """Put a message in a queue, or move the one with this id."""
    due = after if at is None else at
    if due is None or (after is not None and at is not None):
        raise typer.BadParameter("say when it is due: either --in TIME or --at ISO8601")
    data = text.content(payload, file, "payload", piped=False) or b""
    with call.storage(create=True) as storage:
        storage.deferred.schedule(queue, id, due=due, payload=data)
    call.out.done(
        {"queue": queue, "id": id, "size": len(data), "scheduled": True},
        f"scheduled {queue} {id}, due {'in ' if at is None else ''}{text.iso(at) or due}",
    )


def list_(
    call: Call,
    queue: Queue,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = None,
) -> None:
    """List the messages of a queue, due or not, claimed or not."""
    prefix = validate.key(queue, "queue") + "\0"
    with call.storage() as storage:
        found = records(storage.backend, RecordKind.DEFERRED, prefix, limit)
        call.out.rows(("id", "due", "visible", "attempt", "size", "payload"), map(_row, found))


def claim(
    call: Call,
    queue: Queue,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", min=1, max=validate.MAX_CLAIM, help="At most so many."
        ),
    ] = 1,
    lease: Lease = None,
) -> None:
    """Take messages that are due, and print each with its token.

    Exit code 1 where nothing is due.
    """
    with call.storage() as storage:
        claimed = storage.deferred.claim(queue, limit=limit, lease=lease or LEASE)
    rows = [{**_row(message), "token": message.token} for message in claimed]
    if not call.out.rows(("id", "token", "attempt", "due", "payload"), rows):
        raise No(f"nothing is due in {text.printable(queue)!r}")


def acknowledge(call: Call, queue: Queue, id: Id, token: Token) -> None:
    """Remove a claimed message: its work is done."""
    with call.storage() as storage:
        storage.deferred.acknowledge(_held(queue, id, token))
    call.out.done({"queue": queue, "id": id, "acknowledged": True}, f"acknowledged {queue} {id}")


def release(
    call: Call,
    queue: Queue,
    id: Id,
    token: Token,
    delay: Annotated[
        timedelta | None,
        typer.Option("--delay", metavar="TIME", parser=text.duration, help="Not before so long."),
    ] = None,
) -> None:
    """Give a claimed message back, to be claimed again."""
    with call.storage() as storage:
        storage.deferred.release(_held(queue, id, token), delay=delay or timedelta(0))
    call.out.done({"queue": queue, "id": id, "released": True}, f"released {queue} {id}")


def extend(call: Call, queue: Queue, id: Id, token: Token, lease: Lease = None) -> None:
    """Hold a claimed message for longer: the lease now ends so long from now."""
    with call.storage() as storage:
        storage.deferred.extend(_held(queue, id, token), lease or LEASE)
    call.out.done({"queue": queue, "id": id, "extended": True}, f"extended {queue} {id}")


def cancel(call: Call, queue: Queue, id: Id) -> None:
    """Remove a message, claimed or not.

    Exit code 1 where there is none.
    """
    with call.storage() as storage:
        found = storage.deferred.cancel(queue, id)
    if not found:
        raise No(f"there is no message {text.printable(id)!r} in {text.printable(queue)!r}")
    call.out.done({"queue": queue, "id": id, "cancelled": True}, f"cancelled {queue} {id}")


def _row(message: Record) -> Row:
    assert isinstance(message, DeferredMessage)
    return {**message_row(message), "payload": message.payload}


def _held(queue: str, id: str, token: str) -> DeferredMessage:
    return DeferredMessage(queue, id, EPOCH, b"", token)


command(app, "schedule")(schedule)
command(app, "list")(list_)
command(app, "claim")(claim)
command(app, "ack")(acknowledge)
command(app, "release")(release)
command(app, "extend")(extend)
command(app, "cancel")(cancel)
