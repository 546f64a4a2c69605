"""`archive`: deletes from a store exactly what an export file holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import IO

from attrs import field, mutable

from statekeep.backend import Backend
from statekeep.errors import CorruptValue, InvalidArgument
from statekeep.migration import lookup, preflight
from statekeep.migration.committing import commit, commit_conditional
from statekeep.migration.files import ExportFile
from statekeep.migration.importing import check_file
from statekeep.migration.patience import DEFAULT_PATIENCE, Patience
from statekeep.migration.progress import Count, Progress, Tally, Watch, unwatched
from statekeep.migration.selection import (
    EVERYTHING,
    Item,
    Selection,
    SetMembers,
    described,
    kind_of,
    name_of,
)
from statekeep.model import Delete, KeyValueRecord, Operation, RecordKind, Remove

ARCHIVED = (RecordKind.KEY_VALUE, RecordKind.KEY_SET)
"""Kinds that can be archived. A message has no version: nothing could tell that the one that is
deleted is the one that was exported. And it is work to be done, not history."""

SHOWN = 100
"""Keys of values that stayed that are remembered."""


@mutable
class Archived:
    """What came of an archive.

    Attributes:
        tally: what was in the file, and of it what was deleted and what was kept.
        kept: keys of some values that stayed, as they have changed since the export.
    """

    tally: Tally = field(factory=Tally)
    kept: list[str] = field(factory=list)


def delete_exported(
    source: Backend,
    file: IO[bytes],
    selection: Selection = EVERYTHING,
    *,
    patience: timedelta = DEFAULT_PATIENCE,
    watch: Watch = unwatched,
) -> Archived:
    """Deletes what an export holds, once it was found whole and true.

    The file is read to its end and compared with the store before anything is deleted. A value is
    deleted only at the version that was exported, so one that has changed since stays; of a set
    the members that were exported are removed, and those added since stay. It may be called again.

    Args:
        source: `Storage.backend` of the storage that the export was made of.
        file: of `export`, read from its present position; it can be read twice.
        selection: all that the file may hold; another record in it is an error.
        patience: how long the store may be away before it is an error.
        watch: is told how far it is.

    Raises:
        DamagedFile: the file is not whole; nothing was deleted.
        CorruptValue: a value in the file is not the one that the store has at that version;
            nothing was deleted.
        InvalidArgument: the file holds messages, or what is not of the selection; nothing was
            deleted.
        Unavailable, OutcomeUnknown: the store was away for too long; call it again.
    """
    preflight.check_writable(source)
    start, waits = file.tell(), Patience(patience)
    if RecordKind.DEFERRED in check_file(file, watch=watch).tally.counts:
        raise InvalidArgument("messages are not archived: export key-values and key-sets only")
    file.seek(start)
    for items in ExportFile(file).blocks():
        _check_selected(items, selection)
        _compare(source, _values(items), waits)
    file.seek(start)
    export, archived = ExportFile(file), Archived()
    for items in export.blocks():
        _delete_values(source, _values(items), waits, archived)
        _remove_members(source, items, waits, archived)
        watch(Progress("delete", archived.tally.counts))
    return archived


def _check_selected(items: Sequence[Item], selection: Selection) -> None:
    for item in items:
        key = name_of(item)
        assert isinstance(key, str)  # messages were refused
        if kind_of(item) not in selection.kinds or not key.startswith(selection.prefix):
            raise InvalidArgument(
                f"the file holds the {described(item)}, which is not among what was to be archived "
                f"(prefix {selection.prefix!r}): is it the archive of another prefix? Nothing was "
                "deleted"
            )


def _compare(source: Backend, records: Sequence[KeyValueRecord], patience: Patience) -> None:
    for some in lookup.pieces(records, lookup.AT_ONCE):
        there = patience.call(lambda: lookup.values(source, [each.key for each in some]))  # noqa: B023  # called here
        for record in some:
            found = there.get(record.key)
            if found is None or found.entry.version != record.entry.version:
                continue
            if found.entry.value != record.entry.value:
                raise CorruptValue(
                    f"the value of {record.key!r} in the file is not the one that the store has at "
                    f"version {record.entry.version}: is it the export of another store? Nothing "
                    "was deleted"
                )


def _delete_values(
    source: Backend, records: Sequence[KeyValueRecord], patience: Patience, archived: Archived
) -> None:
    operations: list[Operation] = [
        Delete(record.key, expected=record.entry.version) for record in records
    ]
    refused = commit_conditional(source, operations, patience)
    changed = [key for each in refused for key, version in each.conflict.current.items() if version]
    archived.kept += changed[: SHOWN - len(archived.kept)]
    count = Count(
        records=len(records),
        bytes=sum(len(record.entry.value) for record in records),
        deleted=len(records) - len(changed),
        kept=len(changed),
    )
    archived.tally.add(RecordKind.KEY_VALUE, count)


def _remove_members(
    source: Backend, items: Sequence[Item], patience: Patience, archived: Archived
) -> None:
    sets = [item for item in items if isinstance(item, SetMembers)]
    commit(source, [Remove(each.key, each.members) for each in sets], patience)
    members = sum(len(each.members) for each in sets)
    archived.tally.add(RecordKind.KEY_SET, Count(members=members, deleted=members))


def _values(items: Sequence[Item]) -> list[KeyValueRecord]:
    return [item for item in items if isinstance(item, KeyValueRecord)]
