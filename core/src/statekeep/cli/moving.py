"""`migrate` and `verify`: one store into another, and whether they are the same."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from attrs import asdict

from statekeep import migration
from statekeep.cli import text
from statekeep.cli.call import Call, command
from statekeep.cli.exits import NO, OK, No, interrupted
from statekeep.cli.listing import KINDS
from statekeep.cli.output import Output, Row
from statekeep.cli.progress import Display, display
from statekeep.cli.stores import From, Kinds, Prefix, Stores, To, ready, selection, stores
from statekeep.errors import StorageError
from statekeep.migration import Checkpoint, Difference, OnConflict, Tally, preflight
from statekeep.migration.copying import WORKERS
from statekeep.migration.patience import DEFAULT_PATIENCE
from statekeep.migration.reading import BATCH
from statekeep.model import KeyValueRecord
from statekeep.validate import MAX_PAGE

SHOWN = 20
"""Differences that are listed where people read them."""

COLUMNS = ("kind", "name", "difference")
KIND_NAMES = {record_kind: kind.value for kind, (record_kind, _) in KINDS.items()}


class Conflicts(Enum):
    """What `--on-conflict` says to `migrate`."""

    FAIL = "fail"
    SKIP = "skip"
    OVERWRITE = "overwrite"
    NEWER = "newer"


Patience = Annotated[
    timedelta,
    typer.Option(
        "--patience",
        metavar="TIME",
        parser=text.duration,
        help="How long a store may be away: 30s, 5m.",
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", metavar="N", min=1, max=64, help="Threads that write.")
]
PATIENCE = f"{DEFAULT_PATIENCE.seconds}s"


def migrate(
    call: Call,
    source: From,
    target: To,
    prefix: Prefix = "",
    kinds: Kinds = None,
    on_conflict: Annotated[
        Conflicts,
        typer.Option(
            "--on-conflict",
            help="What becomes of records that the target has otherwise; newer: write only what "
            "differs, of values those with a higher version.",
        ),
    ] = Conflicts.FAIL,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="With newer: delete what the source no longer has."),
    ] = False,
    workers: Workers = WORKERS,
    batch: Annotated[
        int,
        typer.Option("--batch", metavar="N", min=1, max=MAX_PAGE, help="Records read at a time."),
    ] = BATCH,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Where to note how far it is; a file in this folder without it.",
            show_default=False,
        ),
    ] = None,
    patience: Patience = PATIENCE,  # type: ignore[assignment]  # typer parses it
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare both stores at the end.")
    ] = True,
) -> int:
    """Copy a store into another one: versions, expiry, sets, messages with their leases.

    Repeat the command to go on after an interruption. Exit code 1 where the stores differ at the
    end, or the target has what would be replaced.
    """
    if delete and on_conflict is not Conflicts.NEWER:
        raise typer.BadParameter("--delete goes with --on-conflict newer")
    chosen, began = selection(prefix, kinds), time.monotonic()
    with stores(call, source, target, chosen) as both:
        preflight.check_writable(both.target)
        both.target.setup()
        file = Checkpoint.at(checkpoint or Path(both.pair.file_name), both.pair)
        with display(call.out.as_json, both.source, chosen) as shown, _resumable(file):
            tally, newer = Tally(), on_conflict is Conflicts.NEWER
            follows = newer and (file.resumed or not _is_empty(both))
            if not follows or (file.resumed and file.fresh):
                tally = migration.copy(
                    both.source,
                    both.target,
                    chosen,
                    on_conflict=OnConflict.FAIL if newer else OnConflict(on_conflict.value),
                    checkpoint=file,
                    workers=workers,
                    batch=batch,
                    patience=patience,
                    watch=shown,
                )
            if follows:
                tally += migration.follow(
                    both.source, both.target, chosen, delete=delete, patience=patience, watch=shown
                )
            found = _compare(call.out, both, patience, shown) if verify else None
        file.remove()
    differences = None if found is None else found.found
    summary(
        call.out,
        tally,
        resumed=file.resumed,
        differences=differences,
        seconds=round(time.monotonic() - began, 3),
    )
    return NO if differences else OK


def verify(
    call: Call,
    source: From,
    target: To,
    prefix: Prefix = "",
    kinds: Kinds = None,
    patience: Patience = PATIENCE,  # type: ignore[assignment]  # typer parses it
) -> int:
    """Compare two stores record by record, and list what differs.

    Exit code 1 where anything does.
    """
    chosen, began = selection(prefix, kinds), time.monotonic()
    with stores(call, source, target, chosen) as both:
        ready(both.target, " at --to")
        with display(call.out.as_json, both.source, chosen) as shown:
            found = _compare(call.out, both, patience, shown)
    summary(
        call.out,
        found.tally,
        differences=found.found,
        seconds=round(time.monotonic() - began, 3),
    )
    return NO if found.found else OK


def _is_empty(both: Stores) -> bool:
    """Whether there is nothing yet to bring up to date: a copy is faster."""
    try:
        preflight.check_empty(both.target, both.pair.selection)
    except migration.TargetConflict:
        return False
    return True


def _compare(
    out: Output, both: Stores, patience: timedelta, shown: Display
) -> migration.Comparison:
    found = migration.compare(
        both.source, both.target, both.pair.selection, patience=patience, watch=shown
    )
    if out.as_json:
        out.rows(COLUMNS, map(_row, found))
        return found
    listed: list[Row] = []
    for difference in found:
        if len(listed) < SHOWN:
            listed.append(_row(difference))  # without its contents, which may be large
    out.rows(COLUMNS, listed)
    if found.found > SHOWN:
        typer.echo(f"... and {found.found - SHOWN} more differences (--json: all)", err=True)
    return found


def _row(found: Difference) -> Row:
    row: dict[str, Any] = {"kind": KIND_NAMES[found.kind]}
    if isinstance(found.name, str):
        row |= {"name": found.name, "key": found.name}
    else:
        row |= {"name": "/".join(found.name), "queue": found.name[0], "id": found.name[1]}
    if found.member is not None:
        row["member"] = found.member
    row["difference"] = list(found.what)
    for side, record in (("source", found.source), ("target", found.target)):
        if isinstance(record, KeyValueRecord):
            row[f"{side}_version"] = record.entry.version
    return row


@contextmanager
def _resumable(file: Checkpoint) -> Iterator[None]:
    """Says how to go on after an error or an interrupt."""
    try:
        yield
    except migration.TargetConflict as error:
        raise No("; ".join((str(error), *_how(file)))) from error
    except BaseException as error:
        if interrupted(error):
            for note in _how(file):
                typer.echo(f"statekeep: interrupted; {note}", err=True)
        elif isinstance(error, StorageError):
            for note in _how(file):
                error.add_note(note)
        raise


def _how(file: Checkpoint) -> Iterable[str]:
    if file.path.exists():
        yield f"the same command goes on from where it was ({file.path})"


def summary(out: Output, tally: Tally, **more: Any) -> None:
    """Shows what was done: the counts that are not 0, and what else is to be said."""
    counts = {
        KIND_NAMES[kind]: {name: number for name, number in asdict(count).items() if number}
        for kind, count in tally.counts.items()
    }
    if out.as_json:
        out.record({"kinds": counts, **more})
        return
    flat = {
        f"{kind}.{name}": number for kind, count in counts.items() for name, number in count.items()
    }
    out.record({**flat, **{name: value for name, value in more.items() if value is not None}})


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    command(app, "migrate")(migrate)
    command(app, "verify")(verify)
