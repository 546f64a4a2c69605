"""`export`, `import` and `archive`: between a store and a file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from statekeep import migration, validate
from statekeep.cli import text
from statekeep.cli.call import Call, command
from statekeep.cli.exits import NO, OK, No
from statekeep.cli.listing import Kind
from statekeep.cli.moving import PATIENCE, Patience, Workers, summary
from statekeep.cli.progress import Display, display
from statekeep.cli.stores import Kinds, Prefix, ready, selection
from statekeep.migration import EVERYTHING, OnConflict, Selection, Tally, preflight
from statekeep.migration.copying import WORKERS
from statekeep.migration.durable import creating, replacing

if TYPE_CHECKING:
    from statekeep.backend import Backend

STANDARD = Path("-")
File = Annotated[
    Path, typer.Argument(metavar="FILE|-", help="The file; - for a pipe.", show_default=False)
]


def export(
    call: Call,
    file: File,
    prefix: Prefix = "",
    kinds: Kinds = None,
    since: Annotated[
        Any,
        typer.Option(
            "--since",
            metavar="ISO8601",
            parser=text.moment,
            help="Only values that were created at or after this time.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    patience: Patience = PATIENCE,  # type: ignore[assignment]  # typer parses it
) -> None:
    """Write records to a file, which appears when it is complete."""
    chosen = selection(prefix, (Kind.VALUES,) if since and kinds is None else kinds)
    if file != STANDARD:
        _check_free(file, "--force", force)
    with _source(call, chosen) as (backend, shown), _writing(file, force) as stream:
        tally = _export(call, backend, stream, chosen, since, patience, shown)
    if file != STANDARD:
        summary(call.out, tally, file=str(file), size=file.stat().st_size)


def import_(
    call: Call,
    file: File,
    on_conflict: Annotated[
        OnConflict,
        typer.Option("--on-conflict", help="What becomes of records that the store has otherwise."),
    ] = OnConflict.FAIL,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the file, and say what is in it.")
    ] = False,
    workers: Workers = WORKERS,
    patience: Patience = PATIENCE,  # type: ignore[assignment]  # typer parses it
) -> None:
    """Read the records of a file into the store, once the whole file was found good."""
    with _reading(file) as stream, display(call.out.as_json, None, EVERYTHING) as shown:
        if dry_run:
            summary(call.out, migration.check_file(stream, watch=shown).tally, file=str(file))
            return
        with call.backend(cache=False) as backend:
            if backend.missing():  # a damaged file leaves nothing behind
                migration.check_file(stream, watch=shown)
                stream.seek(0)
            backend.setup()
            try:
                tally = migration.import_(
                    backend,
                    stream,
                    on_conflict=on_conflict,
                    workers=workers,
                    patience=patience,
                    watch=shown,
                )
            except migration.TargetConflict as error:
                raise No(str(error)) from error
    summary(call.out, tally, file=str(file))


def archive(
    call: Call,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file.", show_default=False)],
    prefix: Annotated[
        str,
        typer.Option(
            "--prefix", metavar="PREFIX", help="Only keys that begin so.", show_default=False
        ),
    ],
    kinds: Kinds = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="The file is there: go on with deleting what it holds."),
    ] = False,
    patience: Patience = PATIENCE,  # type: ignore[assignment]  # typer parses it
) -> int:
    """Export values and sets, verify the file, then delete exactly what it holds.

    A value that changed in between stays, and is named; exit code 1 where any did.
    """
    chosen = selection(validate.key(prefix, "prefix"), kinds or (Kind.VALUES, Kind.SETS))
    if set(chosen.kinds) - set(migration.ARCHIVED):
        raise typer.BadParameter("messages cannot be archived: say --kinds values,sets")
    if not resume:
        _check_free(file, "--resume")
    with _source(call, chosen) as (backend, shown):
        preflight.check_writable(backend)
        if not resume:
            with creating(file) as stream:
                _export(call, backend, stream, chosen, None, patience, shown)
        with _reading(file) as stream:
            done = migration.delete_exported(
                backend, stream, chosen, patience=patience, watch=shown
            )
    summary(call.out, done.tally, file=str(file), size=file.stat().st_size, changed=done.kept)
    return NO if done.tally.total.kept else OK


@contextmanager
def _source(call: Call, chosen: Selection) -> Iterator[tuple[Backend, Display]]:
    with call.backend(cache=False) as backend:
        ready(backend)
        with display(call.out.as_json, backend, chosen) as shown:
            yield backend, shown


def _export(
    call: Call,
    backend: Backend,
    stream: IO[bytes],
    chosen: Selection,
    since: datetime | None,
    patience: Any,
    shown: Display,
) -> Tally:
    from statekeep.registry import default_registry

    registry = default_registry()
    name = registry.offering(registry.backends, call.load().backend).name
    return migration.export(
        backend, stream, chosen, since=since, backend=name, patience=patience, watch=shown
    )


def _check_free(file: Path, option: str, given: bool = False) -> None:
    if file.exists() and not (given and file.is_file()):
        raise typer.BadParameter(f"{file} exists: take another name, or say {option}")
    if not file.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}")


@contextmanager
def _writing(file: Path, force: bool) -> Iterator[IO[bytes]]:
    if file != STANDARD:
        with (replacing if force else creating)(file) as stream:
            yield stream
        return
    if sys.stdout.isatty():
        raise typer.BadParameter("an export is no text: pipe it, or name a file")
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


@contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    """The file, or all that a pipe holds, to be read as often as it takes."""
    with ExitStack() as stack:
        stream = _standard_input() if file == STANDARD else stack.enter_context(_open(file))
        if file == STANDARD or not stream.seekable():
            spool = stack.enter_context(TemporaryFile())
            shutil.copyfileobj(stream, spool)
            spool.seek(0)
            stream = spool
        yield stream


def _open(file: Path) -> IO[bytes]:
    try:
        return file.open("rb")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise typer.BadParameter(f"{file}: {error.strerror}") from error


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise typer.BadParameter("the export is to be read from stdin, which is closed")
    return sys.stdin.buffer


def add_to(app: typer.Typer) -> None:
    """Adds these commands."""
    command(app, "export")(export)
    command(app, "import")(import_)
    command(app, "archive")(archive)
