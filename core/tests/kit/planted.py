"""Backends with one planted defect each, of the kind that real stores and drivers have had.

`DEFECTS` names, for each, a test of the kit that must fail on it.
"""

from __future__ import annotations

import gzip
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from attrs import evolve
from statekeep import cursors
from statekeep.backend import Backend
from statekeep.clock import from_micros, now_micros, to_micros
from statekeep.errors import InvalidArgument, StorageError
from statekeep.findings import Finding, Severity
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    DeferredMessage,
    Delete,
    Entry,
    Extend,
    Failed,
    KeySetRecord,
    KeyValueRecord,
    Operation,
    Outcome,
    Page,
    Put,
    Record,
    RecordKind,
    Release,
    Remove,
    Restore,
    Schedule,
    Transaction,
)
from statekeep.usage import PoolStats, Usage
from statekeep_memory.backend import MemoryBackend
from statekeep_memory.state import Applied, State

DEFECTS: dict[str, tuple[Callable[[], Backend], str]] = {}
"""By the name of the defect: how to open the backend, and the test that must fail."""


def caught_by(test: str) -> Callable[[type[Backend]], type[Backend]]:
    """Registers a defective backend with the test that must catch it."""

    def register(backend: type[Backend]) -> type[Backend]:
        assert backend.__name__ not in DEFECTS
        DEFECTS[backend.__name__] = (backend, test)
        return backend

    return register


class Planted(MemoryBackend):
    """A memory backend over another state."""

    state: type[State] = State

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        super().__init__(clock)
        self._state = self.state(clock)


# Versions


@caught_by("test_versions_of_an_update_add_one")
class PutKeepsVersion(Planted):
    """An unconditional put does not bump the version: it was an UPSERT of the value alone."""

    class state(State):
        def _put(self, operation: Put) -> int:
            before = self.entry(operation.key)
            version = super()._put(operation)
            if operation.expected is None and before is not None:
                self.values[operation.key] = evolve(
                    self.values[operation.key], version=before.version
                )
                return before.version
            return version


@caught_by("test_versions_never_come_back_after_deletion")
class VersionRestarts(Planted):
    """A key created again starts at 1."""

    class state(State):
        def _put(self, operation: Put) -> int:
            new = operation.key not in self.values
            version = super()._put(operation)
            if new:
                version = 1
                self.values[operation.key] = evolve(self.values[operation.key], version=1)
            return version


class ClockState(State):
    """Creations take the clock and nothing else."""

    def _drop_value(self, key: str) -> None:
        self.values.drop(key)


@caught_by("test_versions_grow_while_the_clock_stands")
class VersionFromClockAlone(Planted):
    """The clock's step is coarse, and two creations fall in one step."""

    state = ClockState


@caught_by("test_versions_never_come_back_within_one_call")
class VersionFromClockOfTheCall(Planted):
    """now() of SQL: one instant for all that a database transaction does."""

    state = ClockState

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        with self._lock:
            state, now = self._opened(), now_micros()
            state._clock = lambda: now
            try:
                return [state.apply(transaction) for transaction in transactions]
            finally:
                state._clock = now_micros


@caught_by("test_versions_never_come_back_after_many_updates")
class VersionFromCoarseClock(Planted):
    """A clock in seconds, scaled up: updates of a second run ahead of it."""

    state = ClockState

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        super().__init__(lambda: clock() // 10**6 * 10**6)


@caught_by("test_versions_grow_when_the_clock_is_set_back")
class VersionFollowsClockBack(Planted):
    """The clock was set back, and the versions with it."""

    state = ClockState


@caught_by("test_versions_never_come_back_below_a_restored_one")
class VersionForgetsRestored(Planted):
    """What was restored does not count when the key is created again."""

    class state(State):
        def _drop_value(self, key: str) -> None:
            floor, entry = self._floor, self.values.get(key)
            super()._drop_value(key)
            if entry is not None and entry.version > self._clock() + 10**9:
                self._floor = floor


# Conditions and transactions


@caught_by("test_undo_leaves_nothing")
class HalfApplied(Planted):
    """Operations are applied one by one until a condition fails."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            applied = Applied()
            for operation in transaction.operations:
                outcome = super().apply(Transaction((operation,)))
                if isinstance(outcome, Conflict):
                    return outcome
                applied.versions.update(outcome.versions)
                applied.deleted |= outcome.deleted
                applied.cancelled |= outcome.cancelled
            return applied.outcome()


@caught_by("test_undo_of_a_mixed_transaction")
class SetsOutsideTheTransaction(Planted):
    """Sets live in another store, written before the transaction is known to hold."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            for operation in transaction.operations:
                if isinstance(operation, Add | Remove):
                    self._apply(operation, Applied())
            return super().apply(transaction)


@caught_by("test_undo_leaves_nothing")
class AcknowledgedAnyway(Planted):
    """Messages are acknowledged although the rest of the transaction failed."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            outcome = super().apply(transaction)
            if isinstance(outcome, Conflict) and not outcome.lost:
                for operation in transaction.operations:
                    if isinstance(operation, Acknowledge):
                        self._apply(operation, Applied())
            return outcome


@caught_by("test_conditions_conflicts_name_every_key")
class ConflictNamesOneKey(Planted):
    """A conflict names the first key only."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        return [
            evolve(outcome, current=dict([*outcome.current.items()][:1]))
            if isinstance(outcome, Conflict)
            else outcome
            for outcome in super().commit(transactions)
        ]


@caught_by("test_conditions_that_do_not_hold_write_nothing")
class ConflictWithoutVersion(Planted):
    """A conflict does not say where the key is now."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        return [
            evolve(outcome, current=dict.fromkeys(outcome.current, 0))
            if isinstance(outcome, Conflict)
            else outcome
            for outcome in super().commit(transactions)
        ]


@caught_by("test_conditions_that_do_not_hold_write_nothing")
class ConflictCalledSuccess(Planted):
    """The number of changed rows is not looked at: a conflict is answered as a success."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        return [
            Committed(outcome.current) if isinstance(outcome, Conflict) else outcome
            for outcome in super().commit(transactions)
        ]


@caught_by("test_conditions_that_do_not_hold_write_nothing")
class ConditionOnDeleteIgnored(Planted):
    """Delete does not look at the version."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            return super().apply(
                Transaction(
                    evolve(operation, expected=None) if isinstance(operation, Delete) else operation
                    for operation in transaction.operations
                )
            )


@caught_by("test_conditions_on_an_absent_key_fail")
class ConditionOnAbsentHolds(Planted):
    """An expected version of a key that is gone creates it."""

    class state(State):
        def _version(self, key: str) -> int:
            return super()._version(key) or 2**62

        def apply(self, transaction: Transaction) -> Committed | Conflict:
            return super().apply(
                Transaction(
                    evolve(operation, expected=None)
                    if isinstance(operation, Put) and self.entry(operation.key) is None
                    else operation
                    for operation in transaction.operations
                )
            )


@caught_by("test_values_deleted_are_absent")
class DeleteOfAbsentFails(Planted):
    """Deleting what is not there is an error."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        return [
            Failed(StorageError("no such key"))
            if isinstance(outcome, Committed)
            and any(
                isinstance(operation, Delete) and operation.key not in outcome.deleted
                for operation in transaction.operations
            )
            else outcome
            for transaction, outcome in zip(transactions, super().commit(transactions), strict=True)
        ]


@caught_by("test_transactions_remove_then_add_leaves_the_member")
class RemovalsLast(Planted):
    """All additions, then all removals, whatever the order given."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            order = sorted(transaction.operations, key=lambda each: isinstance(each, Remove))
            return super().apply(Transaction(order))


@caught_by("test_transactions_cancel_then_schedule_leaves_the_message")
class CancellationsLast(Planted):
    """All schedules, then all cancellations."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            order = sorted(transaction.operations, key=lambda each: isinstance(each, Cancel))
            return super().apply(Transaction(order))


@caught_by("test_batches_keep_neighbours_of_a_conflict")
class ConflictUndoesNeighbours(Planted):
    """One conflict rolls back the whole call."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        with self._lock:
            conflicts = [self._conflict(transaction) for transaction in transactions]
        if any(conflicts):
            return [conflict or Conflict() for conflict in conflicts]
        return super().commit(transactions)

    def _conflict(self, transaction: Transaction) -> Conflict | None:
        checks = [
            Check(operation.key, operation.expected)
            for operation in transaction.operations
            if isinstance(operation, Put | Delete | Check) and operation.expected is not None
        ]
        outcome = self._opened().apply(Transaction(checks))
        return outcome if isinstance(outcome, Conflict) else None


@caught_by("test_batches_show_each_transaction_to_the_next")
class BatchReadsOnce(Planted):
    """All conditions of a call are read before any of its transactions is applied."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        keys = [
            operation.key
            for transaction in transactions
            for operation in transaction.operations
            if isinstance(operation, Put | Delete | Check)
        ]
        before = super().get_many(keys)
        outcomes: list[Outcome] = []
        for transaction in transactions:
            current = {
                operation.key: before[operation.key].version if operation.key in before else 0
                for operation in transaction.operations
                if isinstance(operation, Put | Delete | Check)
                and operation.expected is not None
                and operation.expected
                != (before[operation.key].version if operation.key in before else 0)
            }
            held = Transaction(
                operation
                if not isinstance(operation, Put | Delete)
                else evolve(operation, expected=None)
                for operation in transaction.operations
                if not isinstance(operation, Check)
            )
            outcomes += [Conflict(current)] if current else super().commit([held])
        return outcomes


@caught_by("test_threads_lose_no_update")
class CheckThenAct(Planted):
    """The condition is checked in one round trip and the write made in another."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for transaction in transactions:
            checks = [
                Check(operation.key, operation.expected)
                for operation in transaction.operations
                if isinstance(operation, Put | Delete) and operation.expected is not None
            ]
            (outcome,) = super().commit([Transaction(checks)])
            if isinstance(outcome, Committed):
                time.sleep(0.0005)
                (outcome,) = super().commit(
                    [
                        Transaction(
                            evolve(each, expected=None) if isinstance(each, Put | Delete) else each
                            for each in transaction.operations
                        )
                    ]
                )
            outcomes.append(outcome)
        return outcomes


@caught_by("test_values_of_4_mib_are_kept")
class ErrorSwallowed(Planted):
    """The store refuses a large packet; the exception is logged and success returned."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        return [
            Committed({operation.key: 1 for operation in transaction.operations})  # type: ignore[union-attr]
            if any(isinstance(o, Put) and len(o.value) > 2**20 for o in transaction.operations)
            else super(ErrorSwallowed, self).commit([transaction])[0]
            for transaction in transactions
        ]


# Keys


class Renamed(Planted):
    """Stores keys of values and sets under another name."""

    def stored(self, key: str) -> str:
        raise NotImplementedError

    def _under(self, operation: Operation) -> Operation:
        if isinstance(operation, Put | Delete | Check | Add | Remove):
            return evolve(operation, key=self.stored(operation.key))
        return operation

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for transaction in transactions:
            back = {
                self.stored(operation.key): operation.key
                for operation in transaction.operations
                if isinstance(operation, Put | Delete | Check)
            }
            renamed = object.__new__(Transaction)  # two keys may have become one
            object.__setattr__(
                renamed, "operations", tuple(self._under(each) for each in transaction.operations)
            )
            (outcome,) = super().commit([renamed])
            if isinstance(outcome, Committed):
                versions = {back[key]: version for key, version in outcome.versions.items()}
                deleted = frozenset(back[key] for key in outcome.deleted)
                outcome = evolve(outcome, versions=versions, deleted=deleted)
            elif isinstance(outcome, Conflict):
                outcome = evolve(outcome, current={back[k]: v for k, v in outcome.current.items()})
            outcomes.append(outcome)
        return outcomes

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        found = super().get_many([self.stored(key) for key in keys])
        return {key: found[self.stored(key)] for key in keys if self.stored(key) in found}

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        found = super().members_many([self.stored(key) for key in keys])
        return {key: found[self.stored(key)] for key in keys}


@caught_by("test_keys_of_values_that_look_alike_differ")
class KeysFoldCase(Renamed):
    """The column's collation ignores case."""

    def stored(self, key: str) -> str:
        return key.casefold()


@caught_by("test_keys_of_values_that_look_alike_differ")
class KeysLoseTrailingBlanks(Renamed):
    """CHAR semantics: blanks at the end do not count."""

    def stored(self, key: str) -> str:
        return key.rstrip(" ")


@caught_by("test_keys_of_sets_that_look_alike_differ")
class KeysAreNormalized(Renamed):
    """Two normal forms of a text are taken for one."""

    def stored(self, key: str) -> str:
        return unicodedata.normalize("NFC", key)


@caught_by("test_keys_of_1024_bytes_are_kept_whole")
class KeysAreCutAt255(Renamed):
    """VARCHAR(255) without strict mode."""

    def stored(self, key: str) -> str:
        return key[:255]


@caught_by("test_keys_of_messages_that_look_alike_differ")
class IdsFoldCase(Planted):
    """Message ids are compared without case."""

    class state(State):
        def _keep(self, message: DeferredMessage) -> None:
            same = [
                name
                for name in self.messages
                if name[0] == message.queue and name[1].lower() == message.id.lower()
            ]
            for name in same:
                self.messages.drop(name)
            super()._keep(message)


@caught_by("test_keys_of_the_three_kinds_never_meet")
class OneNamespace(Planted):
    """A value and a set of one name are one record, and the later write wins."""

    class state(State):
        def _apply(self, operation: Operation, applied: Applied) -> None:
            if isinstance(operation, Put):
                self.sets.drop(operation.key)
            elif isinstance(operation, Add):
                self._drop_value(operation.key)
            super()._apply(operation, applied)


# Values and reads


class Reading(Planted):
    """Changes what is read."""

    def seen(self, entry: Entry) -> Entry | None:
        raise NotImplementedError

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        found = ((key, self.seen(entry)) for key, entry in super().get_many(keys).items())
        return {key: entry for key, entry in found if entry is not None}


@caught_by("test_values_empty_and_absent_are_not_the_same")
class EmptyIsAbsent(Reading):
    """`if not value: return None`."""

    def seen(self, entry: Entry) -> Entry | None:
        return entry if entry.value else None


@caught_by("test_values_come_back_as_they_were_put")
class GzipIsGuessed(Reading):
    """Values that begin as gzip does are decompressed."""

    def seen(self, entry: Entry) -> Entry | None:
        if not entry.value.startswith(b"\x1f\x8b"):
            return entry
        try:
            return evolve(entry, value=gzip.decompress(entry.value))
        except (OSError, EOFError):
            return entry


@caught_by("test_values_come_back_as_they_were_put")
class ValuesAreText(Reading):
    """Bytes go through a text column."""

    def seen(self, entry: Entry) -> Entry | None:
        return evolve(entry, value=entry.value.decode(errors="replace").encode())


@caught_by("test_histories_of_threads_are_linear")
class TornEntry(Planted):
    """Value and version are read by two statements."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        values = super().get_many(keys)
        time.sleep(0.0005)
        versions = super().get_many(keys)
        return {
            key: evolve(entry, version=versions[key].version)
            for key, entry in values.items()
            if key in versions
        }


@caught_by("test_reads_of_values_are_one_snapshot")
class TornSnapshot(Planted):
    """get_many reads key by key."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for key in keys:
            found |= super().get_many([key])
            time.sleep(0.0001)
        return found


@caught_by("test_reads_of_sets_are_one_snapshot")
class TornSets(Planted):
    """members_many reads set by set."""

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        found: dict[str, frozenset[bytes]] = {}
        for key in keys:
            found |= super().members_many([key])
            time.sleep(0.0001)
        return found


@caught_by("test_histories_of_threads_are_linear")
class ReadsFromAReplica(Planted):
    """Reads come from a replica that is a little behind."""

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        super().__init__(clock)
        self._old: dict[str, Entry] = {}

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        fresh = super().get_many(keys)
        stale = {key: self._old.get(key, entry) for key, entry in fresh.items()}
        self._old.update(fresh)
        return stale


@caught_by("test_reads_of_thousands_of_keys")
class ParametersAreCut(Planted):
    """Keys beyond the first 999 are not asked for."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        return super().get_many(keys[:999])


@caught_by("test_reads_of_sets_answer_every_key")
class AbsentSetsLeftOut(Planted):
    """members_many answers only the sets that exist."""

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        return {key: members for key, members in super().members_many(keys).items() if members}


# Expiry


@caught_by("test_expiry_makes_absent_to_every_read")
class ExpiredInScan(Planted):
    """Scan shows what has expired."""

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        if kind is not RecordKind.KEY_VALUE:
            return super().scan(kind, prefix=prefix, limit=limit, cursor=cursor)
        found = sorted(item for item in self._state.values.items() if item[0].startswith(prefix))
        return Page(tuple(KeyValueRecord(*item) for item in found))


@caught_by("test_expiry_does_not_cut_a_scan_short")
class ExpiredEndTheScan(Planted):
    """A page emptied of what has expired is taken for the last one."""

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        page = super().scan(kind, prefix=prefix, limit=limit, cursor=cursor)
        return page if len(page.items) == limit else Page(page.items)


@caught_by("test_expiry_makes_absent_to_conditions")
class ExpiredBlocksCreation(Planted):
    """To expected=0, what has expired is still there."""

    class state(State):
        def _version(self, key: str) -> int:
            entry = self.values.get(key)
            return entry.version if entry else 0


@caught_by("test_expiry_makes_absent_to_delete")
class ExpiredWasThere(Planted):
    """Deleting what has expired claims that it was there."""

    class state(State):
        def _apply(self, operation: Operation, applied: Applied) -> None:
            if isinstance(operation, Delete) and operation.key in self.values:
                applied.deleted.add(operation.key)
            super()._apply(operation, applied)


@caught_by("test_expiry_is_shown_by_every_read")
class TtlDropped(Planted):
    """The time to live is accepted and forgotten."""

    class state(State):
        def _put(self, operation: Put) -> int:
            return super()._put(evolve(operation, ttl=None))


@caught_by("test_expiry_ends_with_a_put_without_it")
class TtlInherited(Planted):
    """A put without a time to live keeps the old one."""

    class state(State):
        def _put(self, operation: Put) -> int:
            before = self.values.get(operation.key)
            version = super()._put(operation)
            if before is not None and operation.ttl is None:
                entry = self.values[operation.key]
                self.values[operation.key] = evolve(entry, expires=before.expires)
            return version


@caught_by("test_expiry_purge_takes_only_what_expired")
class PurgeTakesLiving(Planted):
    """purge() removes whatever has a time to live."""

    class state(State):
        def purge(self) -> int:
            gone = [key for key, entry in self.values.items() if entry.expires]
            for key in gone:
                self._drop_value(key)
            return len(gone)


@caught_by("test_expiry_is_unsupported_where_not_declared")
class TtlSilentlyIgnored(TtlDropped):
    """Expiry is not declared, and a time to live is accepted all the same."""

    @property
    def capabilities(self) -> Any:
        return evolve(super().capabilities, expiry=False)


# Sets, pages and scans


@caught_by("test_sets_without_members_are_gone")
class EmptySetsListed(Planted):
    """A set whose last member went is still listed."""

    class state(State):
        def _remove(self, operation: Remove) -> None:
            for member in operation.members:
                self.sets.get(operation.key, {}).pop(member, None)


@caught_by("test_sets_keep_members_that_look_alike")
class MembersPadded(Planted):
    """BINARY(n): NUL at the end of a member does not count."""

    class state(State):
        def _add(self, operation: Add) -> None:
            members = [member.rstrip(b"\0") or b"\0" for member in operation.members]
            super()._add(Add(operation.key, members))  # type: ignore[arg-type]  # converted


@caught_by("test_paging_ends_at_every_boundary")
class MembersTwice(Planted):
    """A page repeats a member, as a hash table's scan does while it is resized."""

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        page = super().members(key, limit=limit, cursor=cursor)
        return Page(page.items[:-1] + page.items[:1], page.cursor)


@caught_by("test_paging_ends_at_every_boundary")
class LastPageLost(Planted):
    """A full last page is followed by one that starts over."""

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        page = super().members(key, limit=limit, cursor=cursor)
        return page if len(page.items) == limit else Page(())


@caught_by("test_paging_survives_removal_of_what_was_seen")
class MembersByOffset(Planted):
    """The cursor is an offset: removing what was seen skips as much."""

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        position = cursors.decode(f"members {key}", cursor)
        start = 0 if position is None else int(position)
        found = sorted(super().members_many([key])[key])
        more = start + limit < len(found)
        following = cursors.encode(f"members {key}", b"%d" % (start + limit)) if more else None
        return Page(found[start : start + limit], following)  # type: ignore[arg-type]  # converted


@caught_by("test_scans_survive_deletion_of_what_was_seen")
class ScanByOffset(Planted):
    """LIMIT and OFFSET."""

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        scope = f"{kind.value} {prefix}"
        position = cursors.decode(scope, cursor)
        start = 0 if position is None else int(position)
        whole = super().scan(kind, prefix=prefix, limit=10**9, cursor=None).items
        more = start + limit < len(whole)
        following = cursors.encode(scope, b"%d" % (start + limit)) if more else None
        return Page(whole[start : start + limit], following)


@caught_by("test_cursors_of_members_refuse_garbage")
class BadCursorRestarts(Planted):
    """A cursor that cannot be read means the beginning."""

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        try:
            return super().members(key, limit=limit, cursor=cursor)
        except InvalidArgument:
            return super().members(key, limit=limit, cursor=None)


@caught_by("test_cursors_of_scans_belong_to_their_scan")
class CursorOfAnyScan(Planted):
    """The cursor is the last name and nothing else."""

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        position = cursors.decode("any", cursor)
        own = None if position is None else cursors.encode(f"{kind.value} {prefix}", position)
        page = super().scan(kind, prefix=prefix, limit=limit, cursor=own)
        last = cursors.decode(f"{kind.value} {prefix}", page.cursor)
        return Page(page.items, None if last is None else cursors.encode("any", last))


class Matching(Planted):
    """Chooses the records of a scan in a way of its own."""

    def matches(self, name: str, prefix: str) -> bool:
        raise NotImplementedError

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        records = super().scan(kind, prefix="", limit=10**9, cursor=None).items
        return Page(tuple(r for r in records if self.matches(_name(r), prefix)))


def _name(record: Record) -> str:
    if isinstance(record, DeferredMessage):
        return "\0".join(record.name)
    return record.key


@caught_by("test_scans_match_the_prefix_exactly")
class PrefixIsGlob(Matching):
    """SCAN MATCH with the prefix as it is."""

    def matches(self, name: str, prefix: str) -> bool:
        return fnmatchcase(name, prefix + "*")


@caught_by("test_scans_match_the_prefix_exactly")
class PrefixIsLike(Matching):
    """LIKE with the prefix as it is."""

    def matches(self, name: str, prefix: str) -> bool:
        glob = "".join({"%": "*", "_": "?"}.get(c, f"[{c}]" if c in "*?[" else c) for c in prefix)
        return fnmatchcase(name, glob + "*")


@caught_by("test_scans_match_the_prefix_exactly")
class PrefixFoldsCase(Matching):
    """LIKE of SQLite: without case for ASCII."""

    def matches(self, name: str, prefix: str) -> bool:
        return name.lower().startswith(prefix.lower())


@caught_by("test_scans_match_the_prefix_exactly")
class PrefixEndsAtFFFF(Matching):
    """The range of a prefix ends at U+FFFF, which is not the last character."""

    def matches(self, name: str, prefix: str) -> bool:
        return prefix <= name < prefix + "\uffff"


@caught_by("test_queues_are_separate")
class QueuesLeak(Planted):
    """The scan of a queue shows all whose name begins as its own does."""

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        return super().scan(kind, prefix=prefix.rstrip("\0"), limit=limit, cursor=cursor)


# Deferred messages


@caught_by("test_leases_taken_over_are_lost")
class StaleTokenAccepted(Planted):
    """Any token opens a message that is held."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            return super().apply(
                Transaction(
                    evolve(each, token=self.messages[each.name].token)
                    if isinstance(each, Acknowledge | Release | Extend)
                    and each.name in self.messages
                    and self.messages[each.name].token
                    else each
                    for each in transaction.operations
                )
            )


@caught_by("test_transactions_with_a_stale_token_change_nothing")
class StaleAcknowledgeSkipped(Planted):
    """A stale acknowledgement changes no row, and the rest is committed."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            return super().apply(
                Transaction(
                    each
                    for each in transaction.operations
                    if not isinstance(each, Acknowledge)
                    or (each.name in self.messages and self.messages[each.name].token == each.token)
                )
            )


class Claiming(Planted):
    """Chooses what to claim in a way of its own: simple, and without its own heap."""

    def order(self, message: DeferredMessage) -> Any:
        return message.visible

    def free(self, message: DeferredMessage) -> bool:
        return to_micros(message.visible) <= now_micros()

    def changed(self, message: DeferredMessage, claimed: DeferredMessage) -> DeferredMessage:
        return claimed

    def most(self, limit: int) -> int:
        return limit

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        with self.locked():
            state = self._opened()
            found = [m for name, m in state.messages.items() if name[0] == queue and self.free(m)]
            found.sort(key=self.order)
            self.pause()
            claimed = [self._claimed(m, lease) for m in found[: self.most(limit)]]
            for message in claimed:
                state._keep(message)
        return claimed

    def locked(self) -> Any:
        return self._lock

    def pause(self) -> None:
        pass

    def _claimed(self, message: DeferredMessage, lease: timedelta) -> DeferredMessage:
        until = from_micros(now_micros()) + lease
        token = f"{next(self._state._numbers)}t"
        new = evolve(message, token=token, attempt=message.attempt + 1, visible=until)
        return self.changed(message, new)


@caught_by("test_queues_hold_back_what_is_not_due")
class ClaimsTooEarly(Claiming):
    """Due times are compared in seconds of another time zone."""

    def free(self, message: DeferredMessage) -> bool:
        return to_micros(message.visible) <= now_micros() + 7_200_000_000


@caught_by("test_leases_hide_the_message")
class LeaseIgnored(Claiming):
    """What is held is handed out again."""

    def free(self, message: DeferredMessage) -> bool:
        return to_micros(message.due) <= now_micros()


@caught_by("test_queues_deliver_earliest_due_first")
class ClaimsInOrderOfIds(Claiming):
    """The order is that of the primary key."""

    def order(self, message: DeferredMessage) -> Any:
        return message.id


@caught_by("test_leases_end")
class AttemptsNotCounted(Claiming):
    """Every claim is the first."""

    def changed(self, message: DeferredMessage, claimed: DeferredMessage) -> DeferredMessage:
        return evolve(claimed, attempt=1)


@caught_by("test_leases_end")
class LeaseNeverEnds(Claiming):
    """A message whose worker died is never handed out again."""

    def free(self, message: DeferredMessage) -> bool:
        return not message.token and super().free(message)


@caught_by("test_leases_end")
class TokenKept(Claiming):
    """The token belongs to the message and not to the claim."""

    def changed(self, message: DeferredMessage, claimed: DeferredMessage) -> DeferredMessage:
        return evolve(claimed, token=f"token of {message.id}")


@caught_by("test_queues_hand_out_no_more_than_the_limit")
class ClaimLimitIgnored(Claiming):
    """A claim takes one more than it was asked for."""

    def most(self, limit: int) -> int:
        return limit + 1


@caught_by("test_claims_of_threads_never_share_a_message")
class TwoHolders(Claiming):
    """Messages are selected, and then marked: two claimers select the same."""

    def locked(self) -> Any:
        return nullcontext()

    def free(self, message: DeferredMessage) -> bool:
        return not message.token and super().free(message)

    def pause(self) -> None:
        time.sleep(0.002)

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        while True:
            try:
                return super().claim(queue, limit=limit, lease=lease)
            except RuntimeError:  # the dict changed while it was read: the defect is another one
                continue


@caught_by("test_leases_end_with_a_move")
class MoveKeepsToken(Planted):
    """Scheduling anew leaves the holder in possession."""

    class state(State):
        def _apply(self, operation: Operation, applied: Applied) -> None:
            before = self.messages.get(operation.name) if isinstance(operation, Schedule) else None
            super()._apply(operation, applied)
            if before is not None and isinstance(operation, Schedule):
                self._keep(evolve(self.messages[operation.name], token=before.token))


@caught_by("test_queues_move_what_is_scheduled_again")
class MoveKeepsPayload(Planted):
    """ON CONFLICT DO UPDATE SET due alone."""

    class state(State):
        def _apply(self, operation: Operation, applied: Applied) -> None:
            before = self.messages.get(operation.name) if isinstance(operation, Schedule) else None
            super()._apply(operation, applied)
            if before is not None and isinstance(operation, Schedule):
                self._keep(evolve(self.messages[operation.name], payload=before.payload))


@caught_by("test_queues_keep_messages_of_one_moment_apart")
class OneMessagePerMoment(Planted):
    """The due time is the key."""

    class state(State):
        def _keep(self, message: DeferredMessage) -> None:
            for name, other in [*self.messages.items()]:
                if name[0] == message.queue and name != message.name and other.due == message.due:
                    self.messages.drop(name)
            super()._keep(message)


@caught_by("test_queues_keep_a_due_time_to_the_microsecond")
class DueInMilliseconds(Planted):
    """Due times are cut to milliseconds."""

    class state(State):
        def _keep(self, message: DeferredMessage) -> None:
            due = message.due.replace(microsecond=message.due.microsecond // 1000 * 1000)
            visible = due if message.visible == message.due else message.visible
            super()._keep(evolve(message, due=due, visible=visible))


class AfterLease(Planted):
    """Changes what a lease operation does."""

    class state(State):
        def _apply_to_message(self, operation: Any, applied: Applied) -> None:
            before = self.messages.get(operation.name)
            super()._apply_to_message(operation, applied)
            if before is not None:
                self.after(operation, before)

        def after(self, operation: Operation, before: DeferredMessage) -> None:
            raise NotImplementedError


@caught_by("test_leases_released_are_not_held")
class ReleaseKeepsToken(AfterLease):
    """Who released a message can still acknowledge it."""

    class state(AfterLease.state):
        def after(self, operation: Operation, before: DeferredMessage) -> None:
            if isinstance(operation, Release):
                self._keep(evolve(self.messages[operation.name], token=before.token))


@caught_by("test_leases_extended_last_longer")
class ExtendDoesNothing(AfterLease):
    """An extension is answered and not made."""

    class state(AfterLease.state):
        def after(self, operation: Operation, before: DeferredMessage) -> None:
            if isinstance(operation, Extend):
                self._keep(before)


@caught_by("test_queues_forget_what_is_cancelled")
class CancelSaysNothing(Planted):
    """cancel() always answers that nothing was there."""

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        return [
            evolve(outcome, cancelled=frozenset()) if isinstance(outcome, Committed) else outcome
            for outcome in super().commit(transactions)
        ]


# Restore, lifecycle, forks


@caught_by("test_restore_keeps_the_version")
class RestoreIsPut(Planted):
    """Import gives every record a new version."""

    class state(State):
        def _restore(self, operation: Restore, applied: Applied) -> None:
            record = operation.record
            if isinstance(record, KeyValueRecord):
                self._apply(Put(record.key, record.entry.value), applied)
            else:
                super()._restore(operation, applied)


@caught_by("test_restore_keeps_a_held_message")
class RestoreDropsLeases(Planted):
    """Import forgets who holds a message."""

    class state(State):
        def _restore(self, operation: Restore, applied: Applied) -> None:
            record = operation.record
            if isinstance(record, DeferredMessage):
                record = DeferredMessage(*record.name, record.due, record.payload)
            super()._restore(Restore(record), applied)


@caught_by("test_lifecycle_closed_backends_answer_nothing")
class AnswersWhenClosed(Planted):
    """close() closes nothing."""

    def close(self) -> None:
        pass


@caught_by("test_lifecycle_stats_count_by_kind")
class StatsForgetMessages(Planted):
    """stats() counts two kinds of three."""

    def stats(self) -> Any:
        stats = super().stats()
        kinds = {k: v for k, v in stats.kinds.items() if k is not RecordKind.DEFERRED}
        return evolve(stats, kinds=kinds)


@caught_by("test_watching_usage_and_target_ask_no_store")
class UsageAsksTheStore(Planted):
    """A scrape that comes late fails."""

    def usage(self) -> Usage:
        return super().stats()


@caught_by("test_watching_the_pool_adds_up")
class PoolCountsDown(Planted):
    """What is given back twice is idle twice."""

    given_back = 0

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self.given_back += 1
        return super().get_many(keys)

    def usage(self) -> Usage:
        return Usage(pool=PoolStats(in_use=-self.given_back, idle=2 * self.given_back))


@caught_by("test_watching_stats_have_the_pool_too")
class LimitInUsageOnly(Planted):
    """stats() knows nothing of the pool."""

    def usage(self) -> Usage:
        return Usage(pool=PoolStats(limit=10))


@caught_by("test_watching_an_examination_changes_nothing")
class ExaminesByClaiming(Planted):
    """Looks for stuck messages by taking them."""

    def examine(self) -> Iterable[Finding]:
        for message in list(self._state.messages.values()):
            self.commit([Transaction((Cancel(*message.name),))])
        return ()


@caught_by("test_watching_findings_say_what_to_do")
class FindingsWithoutMeaning(Planted):
    """Says that something is wrong, and not what follows."""

    def examine(self) -> Iterable[Finding]:
        return (Finding("memory", Severity.PROBLEM, "it is full"),)


@caught_by("test_watching_a_closed_backend_is_not_examined")
class ExaminesWhenClosed(Planted):
    """Tells what was true when it was open."""

    def examine(self) -> Iterable[Finding]:
        return (Finding("memory", Severity.GOOD, "plenty"),)


@caught_by("test_processes_unshared_store_is_private")
class SharedUndeclared(Planted):
    """Every backend of the process uses one module-level store."""

    one = State(now_micros)
    lock = threading.Lock()

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        super().__init__(clock)
        self._state, self._lock = self.one, self.lock


@caught_by("test_forks_while_threads_work_do_not_hang")
class LockAcrossFork(Planted):
    """A child inherits a lock that a thread of its parent held."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        with self._lock:
            time.sleep(0.002)
        return super().get_many(keys)

    def after_fork(self) -> None:
        pass


@caught_by("test_stateful_behaves_like_plain_dicts")
class RareLoss(Planted):
    """A transaction that cancels and adds at once loses the addition."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            kinds = {type(operation) for operation in transaction.operations}
            operations = transaction.operations
            if {Cancel, Add} <= kinds:
                operations = tuple(each for each in operations if not isinstance(each, Add))
            return super().apply(Transaction(operations))


@caught_by("test_scans_show_their_own_kind")
class KindsMixedInScan(Planted):
    """The scan of sets also lists values."""

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        page = super().scan(kind, prefix=prefix, limit=limit, cursor=cursor)
        if kind is not RecordKind.KEY_SET or page.cursor:
            return page
        values = super().scan(RecordKind.KEY_VALUE, prefix=prefix, limit=limit, cursor=None)
        extra = [KeySetRecord(r.key) for r in values.items if isinstance(r, KeyValueRecord)]
        return Page((*page.items, *extra))


@caught_by("test_queues_are_asked_for_messages_by_name")
class NameTakenForPrefix(Planted):
    """What is asked for by name is scanned for, and the first that begins so is taken."""

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        found: dict[tuple[str, str], DeferredMessage] = {}
        for name in names:
            prefix = "\0".join(name)
            page = super().scan(RecordKind.DEFERRED, prefix=prefix, limit=1, cursor=None)
            for message in page.items:
                assert isinstance(message, DeferredMessage)
                found[name] = message
        return found


# Interrupts


@caught_by("test_interrupts_leave_the_storage_usable")
class LockLeftByInterrupt(Planted):
    """The lock is taken before the block that frees it."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self._lock.acquire()
        time.sleep(0.001)
        try:
            pass
        finally:
            self._lock.release()
        return super().get_many(keys)


@caught_by("test_interrupts_leave_no_transaction_half_done")
class HalfDoneByInterrupt(Planted):
    """An interrupt between two operations keeps the first."""

    class state(State):
        def apply(self, transaction: Transaction) -> Committed | Conflict:
            return self._apply_all(transaction)

        def _apply(self, operation: Operation, applied: Applied) -> None:
            super()._apply(operation, applied)
            time.sleep(0.0005)


@caught_by("test_interrupts_never_show_another_calls_answer")
class InterruptSwallowed(Planted):
    """A bare `except` around a wait takes Ctrl-C for a lost answer, and asks again."""

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        with suppress(BaseException):
            time.sleep(0.001)
        return super().get_many(keys)


@caught_by("test_interrupts_never_show_another_calls_answer")
class AnswerLeftByInterrupt(Planted):
    """What an interrupted call did not read is the next call's answer."""

    unread: list[dict[str, Entry]]

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        super().__init__(clock)
        self.unread = []

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self.unread.append(super().get_many(keys))
        time.sleep(0.001)
        return self.unread.pop(0)
