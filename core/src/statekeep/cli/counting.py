"""`stats`: how much there is, what is largest, what grows, what waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import asdict

from statekeep.cli.call import Call, command
from statekeep.cli.output import Row
from statekeep.cli.text import seconds

if TYPE_CHECKING:
    from statekeep.backend import BackendStats
    from statekeep.census import QueueDepth, Sized

SIZED_COLUMNS = ("kind", "name", "records", "bytes")
QUEUE_COLUMNS = ("queue", "messages", "ready", "held", "bytes", "oldest")


def stats(
    call: Call,
    largest: Annotated[
        int | None,
        typer.Option(
            "--largest", metavar="N", min=1, max=100_000, help="The largest N values, sets, queues."
        ),
    ] = None,
    groups: Annotated[
        int | None,
        typer.Option(
            "--groups", metavar="N", min=1, max=100_000, help="The largest N groups of names."
        ),
    ] = None,
    separator: Annotated[
        str, typer.Option("--separator", metavar="TEXT", help="What ends the name of a group.")
    ] = "/",
    queues: Annotated[
        bool, typer.Option("--queues", help="Every queue: ready, held, oldest.")
    ] = False,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="PREFIX", help="Only names that begin so.")
    ] = "",
) -> None:
    """Count records, bytes and connections, or find what is large and what waits.

    Counting reads the store, and takes a while in a large one.
    """
    from statekeep import census

    asked = [name for name, given in _asked(largest, groups, queues).items() if given]
    if len(asked) > 1:
        raise typer.BadParameter(f"say one of {' and '.join(asked)}")
    if prefix and not asked:
        raise typer.BadParameter("--prefix goes with --largest, --groups or --queues")
    if not separator:
        raise typer.BadParameter("--separator must not be empty")
    with call.storage() as storage:
        backend = storage.backend
        if largest is not None:
            _show_sizes(call, census.largest(backend, largest, prefix))
        elif groups is not None:
            _show_sizes(call, census.groups(backend, separator, prefix)[:groups])
        elif queues:
            found = census.queues(backend, prefix)
            call.out.rows(QUEUE_COLUMNS, [queue_row(depth) for depth in found])
        else:
            totals = as_row(storage.stats())
            call.out.record(totals if call.out.as_json else _flat(totals))


def as_row(found: BackendStats) -> dict[str, Any]:
    """What a store has, as JSON says it."""
    return {
        "kinds": {kind.value: asdict(each) for kind, each in found.kinds.items()},
        "stored_bytes": found.stored_bytes,
        "pool": asdict(found.pool),
        "details": dict(found.details),
    }


def queue_row(depth: QueueDepth) -> Row:
    """A queue; its oldest message's age in seconds."""
    return {**asdict(depth), "oldest": seconds(depth.oldest)}


def _asked(largest: int | None, groups: int | None, queues: bool) -> dict[str, Any]:
    return {"--largest": largest, "--groups": groups, "--queues": queues}


def _show_sizes(call: Call, found: Iterable[Sized]) -> None:
    rows = [{**asdict(each), "kind": each.kind.value} for each in found]
    call.out.rows(SIZED_COLUMNS, rows)


def _flat(tree: dict[str, Any], path: str = "") -> Row:
    """Nested tables as dotted names; `kinds` and `details` go without saying."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        below = path if name in ("kinds", "details") else f"{path}{name}."
        flat |= _flat(value, below) if isinstance(value, dict) else {f"{path}{name}": value}
    return flat


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    command(app, "stats")(stats)
