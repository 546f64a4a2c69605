"""`export`: records into a file, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO

from statekeep.backend import Backend
from statekeep.clock import to_micros
from statekeep.errors import InvalidArgument
from statekeep.migration import reading
from statekeep.migration.blocks import BlockWriter
from statekeep.migration.format import Header, Trailer, header_line, record_line, trailer_line
from statekeep.migration.patience import DEFAULT_PATIENCE, Patience
from statekeep.migration.progress import Counter, Progress, Tally, Watch, unwatched
from statekeep.migration.reading import BATCH, portions
from statekeep.migration.selection import (
    EVERYTHING,
    Item,
    Selection,
)
from statekeep.model import KeySetRecord, KeyValueRecord, RecordKind


def export(
    source: Backend,
    file: IO[bytes],
    selection: Selection = EVERYTHING,
    *,
    since: datetime | None = None,
    backend: str = "",
    patience: timedelta = DEFAULT_PATIENCE,
    watch: Watch = unwatched,
) -> Tally:
    """Writes records to a file that ends with a proof of its completeness, in constant memory.

    It is a moment of each record, not of the store: what changes meanwhile may be in it or not.

    Args:
        source: `Storage.backend` of a storage without a cache, set up.
        file: is written from its present position on; never read, sought or closed.
        selection: which records; all of them without it.
        since: only values that were created at or after this time, by their versions: a version
            is the time of creation in microseconds, plus one for each update. What was created
            before and updated since is not among them. Sets and messages have no versions.
        backend: the name of the backend, for the header.
        patience: how long the store may be away before it is an error.
        watch: is told how far it is.

    Returns:
        What was written.

    Raises:
        InvalidArgument: `since` with other kinds than values.
        Unavailable: the store was away for too long.
        CorruptValue: a stored value is damaged.
        OSError: the file cannot be written.
    """
    from statekeep import __version__

    if since is not None and selection.kinds != (RecordKind.KEY_VALUE,):
        raise InvalidArgument("since: only values have versions; select key-values alone")
    blocks, counter = BlockWriter(file), Counter()
    header = Header(
        created=datetime.now(UTC),
        statekeep=__version__,
        backend=backend,
        selection=selection,
        since=since,
    )
    blocks.write(header_line(header))
    least = 0 if since is None else to_micros(since)
    for items in _portions(source, selection, least, Patience(patience)):
        for item in items:
            blocks.write(record_line(item))
            counter.add(item)
        watch(Progress("export", counter.tally.counts))
    blocks.flush()
    blocks.write(trailer_line(_trailer(blocks, counter.tally)))
    blocks.flush()
    return counter.tally


def _portions(
    source: Backend, selection: Selection, least: int, patience: Patience
) -> Iterator[list[Item]]:
    """What to write, sets as members."""
    for portion in portions(source, selection, BATCH, patience):
        if portion.kind is not RecordKind.KEY_SET:
            yield [item for item in portion.items if _version(item) >= least]
            continue
        for item in portion.items:
            assert isinstance(item, KeySetRecord)
            for page in reading.members(source, item.key, patience):
                yield [page]


def _version(item: Item) -> int:
    return item.entry.version if isinstance(item, KeyValueRecord) else 0


def _trailer(blocks: BlockWriter, tally: Tally) -> Trailer:
    return Trailer(
        records={kind: count.records for kind, count in tally.counts.items()},
        members=tally.total.members,
        bytes=blocks.bytes,
        sha256=blocks.sha256,
    )
