"""The maps behind the memory backend, and what each operation does to them.

Not thread-safe: the backend holds its lock around every call.
"""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable
from datetime import timedelta
from itertools import count

from attrs import evolve, field, mutable
from statekeep.clock import from_micros, later, resolve_due, to_micros
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
    KeyValueRecord,
    Operation,
    Put,
    Release,
    Remove,
    Restore,
    Schedule,
    Transaction,
)

from statekeep_memory.sortedkeys import SortedKeys

NOBODY = ""


@mutable
class Applied:
    """What a transaction did, collected while it is applied."""

    versions: dict[str, int] = field(factory=dict)
    deleted: set[str] = field(factory=set)
    cancelled: set[tuple[str, str]] = field(factory=set)

    def outcome(self) -> Committed:
        """The answer to the caller."""
        return Committed(self.versions, frozenset(self.deleted), frozenset(self.cancelled))


class State:
    """Key-values, key-sets and messages of one memory backend."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._floor = 0
        self._numbers = count(1)
        self._origin = secrets.token_hex(4)  # a token restored from another store is never reused
        self.values: SortedKeys[str, Entry] = SortedKeys()
        self.sets: SortedKeys[str, SortedKeys[bytes, None]] = SortedKeys()
        self.messages: SortedKeys[tuple[str, str], DeferredMessage] = SortedKeys()
        self._heaps: dict[str, list[tuple[int, int, str]]] = {}

    def entry(self, key: str) -> Entry | None:
        """The entry of a key, None where it is absent or expired."""
        entry = self.values.get(key)
        if entry is not None and entry.expires is not None and self._expired(entry):
            return None
        return entry

    def purge(self) -> int:
        """Drops expired values."""
        gone = [key for key, entry in self.values.items() if entry.expires and self._expired(entry)]
        for key in gone:
            self._drop_value(key)
        return len(gone)

    def apply(self, transaction: Transaction) -> Committed | Conflict:
        """All conditions first, then all operations in order: so nothing is ever undone.

        Where an interrupt (Ctrl-C) comes in the middle, all are applied again: each may be.
        """
        current: dict[str, int] = {}
        lost: list[tuple[str, str]] = []
        for operation in transaction.operations:
            if isinstance(operation, Put | Delete | Check):
                if operation.expected is not None:
                    version = self._version(operation.key)
                    if version != operation.expected:
                        current[operation.key] = version
            elif isinstance(operation, Acknowledge | Release | Extend):
                message = self.messages.get(operation.name)
                if message is None or message.token != operation.token:
                    lost.append(operation.name)
        if current or lost:
            return Conflict(current, tuple(lost))
        try:
            return self._apply_all(transaction)
        except BaseException:
            self._apply_all(transaction)
            raise

    def claim(self, queue: str, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """The messages visible longest, marked as held until the end of the lease."""
        now, heap = self._clock(), self._heaps.get(queue, [])
        claimed: list[DeferredMessage] = []
        while heap and heap[0][0] <= now and len(claimed) < limit:
            moment, _, id = heap[0]
            message = self.messages.get((queue, id))
            if message is None or to_micros(message.visible) != moment:
                heapq.heappop(heap)
                continue
            message = evolve(
                message,
                token=f"{self._origin}-{next(self._numbers)}",
                attempt=message.attempt + 1,
                visible=from_micros(later(now, lease)),
            )
            self._keep(message)  # so its place in the heap is out of date, and goes next
            claimed.append(message)
        return claimed

    def _apply_all(self, transaction: Transaction) -> Committed:
        applied = Applied()
        for operation in transaction.operations:
            self._apply(operation, applied)
        return applied.outcome()

    def _apply(self, operation: Operation, applied: Applied) -> None:
        if isinstance(operation, Put):
            applied.versions[operation.key] = self._put(operation)
        elif isinstance(operation, Delete):
            if self.entry(operation.key) is not None:
                applied.deleted.add(operation.key)
            self._drop_value(operation.key)
            applied.versions[operation.key] = 0
        elif isinstance(operation, Add):
            self._add(operation)
        elif isinstance(operation, Remove):
            self._remove(operation)
        elif isinstance(operation, Restore):
            self._restore(operation, applied)
        elif not isinstance(operation, Check):
            self._apply_to_message(operation, applied)

    def _apply_to_message(
        self,
        operation: Schedule | Cancel | Acknowledge | Release | Extend,
        applied: Applied,
    ) -> None:
        now = self._clock()
        if isinstance(operation, Schedule):
            due = from_micros(resolve_due(operation.due, now))
            self._keep(DeferredMessage(*operation.name, due, operation.payload))
        elif isinstance(operation, Cancel | Acknowledge):
            if self.messages.drop(operation.name) and isinstance(operation, Cancel):
                applied.cancelled.add(operation.name)
        elif isinstance(operation, Release):
            back = from_micros(later(now, operation.delay))
            self._keep(evolve(self.messages[operation.name], token=NOBODY, visible=back))
        else:
            until = from_micros(later(now, operation.lease))
            self._keep(evolve(self.messages[operation.name], visible=until))

    def _put(self, operation: Put) -> int:
        now, before = self._clock(), self.values.get(operation.key)
        if before is None:
            version = max(now, self._floor + 1)
        elif before.expires is not None and self._expired(before):
            version = max(now, self._floor + 1, before.version + 1)
        else:
            version = before.version + 1
        ttl = operation.ttl
        expires = None if ttl is None else from_micros(later(now, ttl))
        self.values[operation.key] = Entry(operation.value, version, expires)
        return version

    def _drop_value(self, key: str) -> None:
        entry = self.values.get(key)
        if entry is not None:
            self._floor = max(self._floor, entry.version)
            self.values.drop(key)

    def _add(self, operation: Add) -> None:
        if not operation.members:
            return
        members = self.sets.get(operation.key)
        if members is None:
            members = self.sets[operation.key] = SortedKeys()
        for member in operation.members:
            members[member] = None

    def _remove(self, operation: Remove) -> None:
        members = self.sets.get(operation.key)
        if members is None:
            return
        for member in operation.members:
            members.drop(member)
        if not members:
            self.sets.drop(operation.key)

    def _restore(self, operation: Restore, applied: Applied) -> None:
        record = operation.record
        if isinstance(record, KeyValueRecord):
            self.values[record.key] = record.entry
            applied.versions[record.key] = record.entry.version
        else:
            self._keep(record)

    def _keep(self, message: DeferredMessage) -> None:
        self.messages[message.name] = message
        heap = self._heaps.setdefault(message.queue, [])
        heapq.heappush(heap, (to_micros(message.visible), next(self._numbers), message.id))
        if len(heap) > 64 + 2 * len(self.messages):
            self._compact(message.queue, heap)

    def _compact(self, queue: str, heap: list[tuple[int, int, str]]) -> None:
        """What was moved or cancelled left its place behind: without this the heap only grows."""
        live: dict[str, tuple[int, int, str]] = {}
        for place in heap:
            message = self.messages.get((queue, place[2]))
            if message is not None and to_micros(message.visible) == place[0]:
                live[message.id] = place
        heap[:] = sorted(live.values())  # a sorted list is a heap

    def _version(self, key: str) -> int:
        entry = self.entry(key)
        return 0 if entry is None else entry.version

    def _expired(self, entry: Entry) -> bool:
        return entry.expires is not None and to_micros(entry.expires) <= self._clock()
