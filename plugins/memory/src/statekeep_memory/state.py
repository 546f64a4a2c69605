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

FEW = 64
"""Places in a heap that are not worth sorting out."""


@mutable
class Applied:
    """What a transaction did, collected while it is applied."""

    versions: dict[str, int] = field(factory=dict)
    deleted: set[str] = field(factory=set)
    cancelled: set[tuple[str, str]] = field(factory=set)

    def outcome(self) -> Committed:
        """The answer to the caller."""
        return Committed(self.versions, frozenset(self.deleted), frozenset(self.cancelled))


@mutable
class Places:
    """When the messages of a queue become visible: a heap of (moment, number, id).

    Attributes:
        heap: some lead to a message that has moved or gone meanwhile.
        most: when it is longer than this, those are sorted out.
    """

    heap: list[tuple[int, int, str]] = field(factory=list)
    most: int = 2 * FEW


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
        self._queues: dict[str, Places] = {}

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
        now, places = self._clock(), self._queues.get(queue) or Places()
        heap = places.heap
        claimed: list[DeferredMessage] = []
        while heap and heap[0][0] <= now and len(claimed) < limit:
            if not self._leads(queue, heap[0]):
                heapq.heappop(heap)
                continue
            message = self.messages[queue, heap[0][2]]
            message = evolve(
                message,
                token=f"{self._origin}-{next(self._numbers)}",
                attempt=message.attempt + 1,
                visible=from_micros(later(now, lease)),
            )
            self._keep(message)  # so its place in the heap is out of date, and goes next
            claimed.append(message)
            heap = places.heap
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
            self._forget_places(operation.queue)
        elif message := self.messages.get(operation.name):  # not, where it is applied again
            if isinstance(operation, Release):
                back = from_micros(later(now, operation.delay))
                self._keep(evolve(message, token=NOBODY, visible=back))
            else:
                until = from_micros(later(now, operation.lease))
                self._keep(evolve(message, visible=until))

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
            self._drop_value(record.key)
            self.values[record.key] = record.entry
            applied.versions[record.key] = record.entry.version
        else:
            self._keep(record)

    def _keep(self, message: DeferredMessage) -> None:
        places = self._queues.setdefault(message.queue, Places())
        # First its place: one without a message is passed over, the other way round it were lost.
        place = (to_micros(message.visible), next(self._numbers), message.id)
        heapq.heappush(places.heap, place)
        self.messages[message.name] = message
        if len(places.heap) > places.most:
            self._compact(message.queue, places)

    def _forget_places(self, queue: str) -> None:
        """Drops what leads nowhere from the front, and the heap of a queue without messages."""
        places = self._queues.get(queue)
        if places is not None:
            while places.heap and not self._leads(queue, places.heap[0]):
                heapq.heappop(places.heap)
            if not places.heap:
                del self._queues[queue]

    def _compact(self, queue: str, places: Places) -> None:
        """What was moved or cancelled left its place behind: without this the heap only grows."""
        live = {place[2]: place for place in places.heap if self._leads(queue, place)}
        places.heap = sorted(live.values())  # a sorted list is a heap
        places.most = 2 * max(len(live), FEW)

    def _leads(self, queue: str, place: tuple[int, int, str]) -> bool:
        message = self.messages.get((queue, place[2]))
        return message is not None and to_micros(message.visible) == place[0]

    def _version(self, key: str) -> int:
        entry = self.entry(key)
        return 0 if entry is None else entry.version

    def _expired(self, entry: Entry) -> bool:
        return entry.expires is not None and to_micros(entry.expires) <= self._clock()
