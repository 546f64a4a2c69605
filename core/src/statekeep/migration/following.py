"""`follow`: makes a copy what its source has become, by what differs."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve, field, mutable

from statekeep.backend import Backend
from statekeep.migration import preflight, reading
from statekeep.migration.committing import MOST_BYTES, commit, commit_conditional
from statekeep.migration.comparing import Comparison
from statekeep.migration.differences import EXTRA, Difference, is_newer
from statekeep.migration.patience import DEFAULT_PATIENCE, Patience
from statekeep.migration.progress import Count, Progress, Tally, Watch, unwatched
from statekeep.migration.selection import EVERYTHING, Selection, size_of
from statekeep.model import (
    Add,
    Cancel,
    DeferredMessage,
    Delete,
    KeyValueRecord,
    Operation,
    RecordKind,
    Remove,
    Restore,
)

TOGETHER = 250
"""Differences that are mended together."""


def follow(
    source: Backend,
    target: Backend,
    selection: Selection = EVERYTHING,
    *,
    delete: bool = False,
    patience: timedelta = DEFAULT_PATIENCE,
    watch: Watch = unwatched,
) -> Tally:
    """Brings a copy up to date: reads both sides, writes only what differs.

    A value is written where the source has a higher version; where the target's is as high or
    higher, somebody wrote to the target, and it stays and is counted as kept. Messages have no
    versions: the source's word holds. So nothing but this may write to the target.

    Args:
        source: `Storage.backend` of a storage without a cache, set up.
        target: the same.
        selection: which records; all of them without it.
        delete: whether what the source no longer has is deleted; else it is counted as kept.
        patience: how long a store may be away before it is an error.
        watch: is told how far it is.

    Returns:
        What was done; its records are those that both sides had.

    Raises:
        Unsupported, InvalidArgument: the target cannot hold some of the records.
        Unavailable, OutcomeUnknown: a store was away for too long; repeat it.
    """
    waits = Patience(patience)
    preflight.check_writable(target)
    preflight.check_fits(source, target, selection, waits, watch)
    tally = Tally()

    def told(progress: Progress) -> None:
        watch(evolve(progress, phase="follow"))

    comparison = Comparison(source, target, selection, waits, told, tally)
    mending = _Mending(source, target, delete, waits, tally)
    for each in comparison:
        mending.add(each)
    mending.flush()
    return tally


@mutable
class _Mending:
    """Collects what mends differences and commits it."""

    source: Backend
    target: Backend
    delete: bool
    patience: Patience
    tally: Tally
    seen: set[object] = field(factory=set)
    writes: list[Operation] = field(factory=list)
    deletions: list[Operation] = field(factory=list)
    bytes: int = 0

    def add(self, found: Difference) -> None:
        """Mends this difference, now or with others to come."""
        name = (found.kind, found.name, found.member)
        if name in self.seen:  # read twice
            return
        self.seen.add(name)
        if found.what == (EXTRA,):
            self._drop(found) if self.delete else self.tally.add(found.kind, Count(kept=1))
        elif found.kind is RecordKind.KEY_SET:
            self._add_members(found)
        elif isinstance(found.source, KeyValueRecord | DeferredMessage):
            if is_newer(found.source, found.target):
                self.writes.append(Restore(found.source))
                self.bytes += size_of(found.source)
                self.tally.add(found.kind, Count(written=1))
            else:
                self.tally.add(found.kind, Count(kept=1))
        if len(self.seen) >= TOGETHER or self.bytes >= MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Commits what was collected."""
        commit(self.target, self.writes, self.patience)
        commit_conditional(self.target, self.deletions, self.patience)
        self.seen.clear()
        self.writes.clear()
        self.deletions.clear()
        self.bytes = 0

    def _add_members(self, found: Difference) -> None:
        if found.member is not None:
            self.writes.append(Add(str(found.name), (found.member,)))
            return
        for page in reading.members(self.source, str(found.name), self.patience):
            commit(self.target, [Add(page.key, page.members)], self.patience)
        self.tally.add(found.kind, Count(written=1))

    def _drop(self, found: Difference) -> None:
        if isinstance(found.target, KeyValueRecord):
            version = found.target.entry.version
            self.deletions.append(Delete(found.target.key, expected=version))
        elif isinstance(found.target, DeferredMessage):
            self.writes.append(Cancel(*found.target.name))
        elif found.member is not None:
            self.writes.append(Remove(str(found.name), (found.member,)))
        else:
            for page in reading.members(self.target, str(found.name), self.patience):
                commit(self.target, [Remove(page.key, page.members)], self.patience)
        self.tally.add(found.kind, Count(deleted=1))
