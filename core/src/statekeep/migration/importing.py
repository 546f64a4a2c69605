"""`import_`: an export file into a store, once all of it was found good."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import groupby
from tempfile import TemporaryFile
from typing import IO

from attrs import evolve, frozen

from statekeep.backend import Backend
from statekeep.migration import lookup, preflight
from statekeep.migration.copying import WORKERS
from statekeep.migration.files import ExportFile
from statekeep.migration.patience import DEFAULT_PATIENCE, Patience
from statekeep.migration.pipeline import pipeline
from statekeep.migration.progress import Count, Counter, Progress, Tally, Watch, unwatched
from statekeep.migration.reading import BATCH
from statekeep.migration.selection import Item, described, kind_of, size_of
from statekeep.migration.writing import OnConflict, Writer, conflict
from statekeep.model import RecordKind


def check_file(file: IO[bytes], *, watch: Watch = unwatched) -> ExportFile:
    """Reads an export to its end and returns it, with what is in it.

    Raises:
        DamagedFile: it is not whole.
    """
    export = ExportFile(file)
    for _ in export.blocks():
        watch(Progress("read", export.tally.counts))
    return export


def import_(
    target: Backend,
    file: IO[bytes],
    *,
    on_conflict: OnConflict = OnConflict.FAIL,
    workers: int = WORKERS,
    patience: timedelta = DEFAULT_PATIENCE,
    watch: Watch = unwatched,
) -> Tally:
    """Writes the records of an export as they were, in constant memory.

    The file is read to its end before anything is written. It may be imported again: what is there
    already, exactly so, is no conflict.

    Args:
        target: `Storage.backend` of a storage without a cache, set up.
        file: of `export`. One that cannot be read twice is copied to a temporary file first.
        on_conflict: what becomes of a record that the target has otherwise. `FAIL` looks all of
            them up before anything is written. Members are added to sets in any case.
        workers: threads that write.
        patience: how long the store may be away before it is an error.
        watch: is told how far it is.

    Returns:
        What was done.

    Raises:
        DamagedFile: the file is not whole; nothing was written.
        TargetConflict: the target has records that may not be replaced; nothing was written, but
            where newer ones came between.
        Unsupported, InvalidArgument: it cannot hold some of the records; nothing was written.
        Unavailable, OutcomeUnknown: the store was away for too long; import again.
    """
    preflight.check_writable(target)
    if not file.seekable():
        with TemporaryFile() as spool:
            shutil.copyfileobj(file, spool)
            spool.seek(0)
            return import_(
                target, spool, on_conflict=on_conflict, workers=workers, patience=patience,
                watch=watch,
            )  # fmt: skip
    start, waits = file.tell(), Patience(patience)
    writer = Writer(target, on_conflict, waits)
    _check(writer, file, watch)
    file.seek(start)
    tally = Tally()
    pieces = _pieces(ExportFile(file))
    # All was looked up: what is there now and older, was an earlier line of the file.
    writer = evolve(writer, resumes=on_conflict is OnConflict.FAIL)
    done = pipeline(pieces, lambda one: writer.write(one.items), workers, waits.stop)
    with closing(done):
        for piece, count in done:
            tally.add(piece.kind, count + Count(records=piece.sets, written=piece.sets))
            watch(Progress("import", tally.counts))
    return tally


def _check(writer: Writer, file: IO[bytes], watch: Watch) -> None:
    """Raises where something is wrong, before anything is written."""
    export, misfits = ExportFile(file), preflight.Misfits(writer.target.capabilities)
    conflicts: list[str] = []
    count = 0
    for items in export.blocks():
        misfits.look(items)
        if writer.on_conflict is OnConflict.FAIL:
            found = writer.conflicts(items)
            conflicts += map(described, found[: preflight.NAMED - len(conflicts)])
            count += len(found)
        watch(Progress("read", export.tally.counts))
    misfits.refuse()
    if count:
        raise conflict(conflicts, count)


@frozen
class _Piece:
    """Records of one kind that are written together; `sets` of them begin here."""

    kind: RecordKind
    items: Sequence[Item]
    bytes: int
    sets: int


def _pieces(export: ExportFile) -> Iterator[_Piece]:
    counter = Counter()
    for block in export.blocks():
        for kind, group in groupby(block, kind_of):
            for items in lookup.pieces(list(group), BATCH):
                begun = sum(map(counter.add, items))
                sets = begun if kind is RecordKind.KEY_SET else 0
                yield _Piece(kind, items, sum(map(size_of, items)), sets)
