"""`copy`: the records of one store into another, as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import reduce

from statekeep.backend import Backend
from statekeep.migration import preflight, reading
from statekeep.migration.checkpoint import Checkpoint
from statekeep.migration.patience import DEFAULT_PATIENCE, Patience
from statekeep.migration.pipeline import pipeline
from statekeep.migration.progress import Count, Progress, Tally, Watch, unwatched
from statekeep.migration.reading import BATCH, Portion, portions
from statekeep.migration.selection import EVERYTHING, Item, Selection
from statekeep.migration.writing import OnConflict, Writer
from statekeep.model import KeySetRecord

WORKERS = 4


def copy(
    source: Backend,
    target: Backend,
    selection: Selection = EVERYTHING,
    *,
    on_conflict: OnConflict = OnConflict.FAIL,
    checkpoint: Checkpoint | None = None,
    workers: int = WORKERS,
    batch: int = BATCH,
    patience: timedelta = DEFAULT_PATIENCE,
    watch: Watch = unwatched,
) -> Tally:
    """Copies values with versions and expiry, sets, and messages with their leases.

    In constant memory. Every record is written so that writing it twice changes nothing; so a
    call that failed half way is repeated, and a copy that was killed is made again, or goes on
    from its checkpoint. What changes in the source meanwhile may or may not be copied: see
    `follow`.

    Args:
        source: `Storage.backend` of a storage without a cache, set up.
        target: the same.
        selection: which records; all of them without it.
        on_conflict: what becomes of a record that the target has otherwise. `FAIL` also refuses
            a target that has any record of the selection, unless the checkpoint is resumed.
            Members are added to sets in any case.
        checkpoint: says where to begin, and is kept up to date; it is left in place at the end.
        workers: threads that write.
        batch: records of a portion.
        patience: how long a store may be away before it is an error.
        watch: is told how far it is.

    Returns:
        What was done, that of the runs before included.

    Raises:
        TargetConflict: the target has records that may not be replaced.
        Unsupported, InvalidArgument: it cannot hold some of the records; found before anything
            is written.
        Unavailable, OutcomeUnknown: a store was away for too long.
    """
    waits = Patience(patience)
    tally = Tally(dict(checkpoint.counts) if checkpoint else {})
    resumed = tally.total.records
    _check(source, target, selection, on_conflict, checkpoint, waits, watch)
    resumes = bool(checkpoint and checkpoint.resumed and checkpoint.fresh)
    writer = Writer(target, on_conflict, waits, resumes)
    places = checkpoint.places if checkpoint else {}
    found = portions(source, selection, batch, waits, dict(places))
    done = pipeline(found, lambda portion: _move(source, writer, portion), workers, waits.stop)
    try:
        with closing(done):
            for portion, count in done:
                tally.add(portion.kind, count)
                if checkpoint:
                    checkpoint.advance(portion.kind, portion.place, count)
                watch(Progress("copy", tally.counts, resumed))
    finally:
        if checkpoint:
            checkpoint.save()
    return tally


def _check(
    source: Backend,
    target: Backend,
    selection: Selection,
    on_conflict: OnConflict,
    checkpoint: Checkpoint | None,
    patience: Patience,
    watch: Watch,
) -> None:
    preflight.check_writable(target)
    if checkpoint and checkpoint.resumed:
        if any(count.written for count in checkpoint.counts.values()):
            patience.call(lambda: preflight.check_still_there(target, selection))
    else:
        if on_conflict is OnConflict.FAIL:
            patience.call(lambda: preflight.check_empty(target, selection))
        preflight.check_fits(source, target, selection, patience, watch)
        if checkpoint:
            checkpoint.fresh = on_conflict is OnConflict.FAIL
    if checkpoint:
        checkpoint.save()  # what is written from here on is ours: a run after a kill goes on


def _move(source: Backend, writer: Writer, portion: Portion) -> Count:
    counts = [writer.write(items) for items in _filled(source, writer, portion)]
    kept = sum(isinstance(item, KeySetRecord) for item in portion.items)
    return reduce(Count.__add__, counts, Count(records=kept, written=kept))


def _filled(source: Backend, writer: Writer, portion: Portion) -> Iterator[list[Item]]:
    """The records with their contents: sets as members, so many together as one call carries."""
    together: list[Item] = []
    members = 0
    for item in portion.items:
        if not isinstance(item, KeySetRecord):
            together.append(item)
            continue
        for part in reading.members(source, item.key, writer.patience):
            together.append(part)
            members += len(part.members)
            if members >= reading.MEMBERS:
                yield together
                together, members = [], 0
    if together:
        yield together
