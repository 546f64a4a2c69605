"""What is large, what grows and what waits: found by reading every record, in constant memory.

Sizes are those of the stored bytes, compressed as they are, for these are what fills a store; so
damaged values are counted like any other.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import timedelta

from attrs import frozen, mutable

from statekeep.backend import Backend
from statekeep.clock import MICROSECOND, now_micros, to_micros
from statekeep.layers.base import innermost
from statekeep.model import DeferredMessage, KeyValueRecord, RecordKind
from statekeep.session import PAGE, scan

MOST_GROUPS = 100_000
"""Groups that are told apart; what more there are is `OTHERS`."""

OTHERS = "(others)"


@frozen
class Sized:
    """A record, a set, a queue, or a group of them.

    Attributes:
        kind: what it is.
        name: its key; of a queue its name; of a group what all its names begin with.
        records: values, members or messages.
        bytes: what they hold.
    """

    kind: RecordKind
    name: str
    records: int
    bytes: int


@frozen
class QueueDepth:
    """A queue at one moment, by this machine's clock.

    Attributes:
        queue: its name.
        messages: all of them.
        ready: those that can be claimed now.
        held: those under a lease.
        bytes: of their payloads.
        oldest: for how long the first that is ready has been so; None where none is.
    """

    queue: str
    messages: int
    ready: int
    held: int
    bytes: int
    oldest: timedelta | None


def sizes(backend: Backend, prefix: str = "") -> Iterator[Sized]:
    """Every value, every key-set (its members are read) and every queue, as it comes."""
    stored = innermost(backend)
    for record in scan(stored, RecordKind.KEY_VALUE, prefix):
        assert isinstance(record, KeyValueRecord)
        yield Sized(RecordKind.KEY_VALUE, record.key, 1, len(record.entry.value))
    for record in scan(stored, RecordKind.KEY_SET, prefix):
        assert not isinstance(record, KeyValueRecord | DeferredMessage)
        yield _set_size(stored, record.key)
    for depth in queues(backend, prefix):
        yield Sized(RecordKind.DEFERRED, depth.queue, depth.messages, depth.bytes)


def largest(backend: Backend, count: int, prefix: str = "") -> list[Sized]:
    """The largest values, sets and queues, the largest first."""
    return heapq.nlargest(count, sizes(backend, prefix), key=lambda each: each.bytes)


def groups(backend: Backend, separator: str, prefix: str = "") -> list[Sized]:
    """Sums over all names that are alike up to the first separator after `prefix`.

    Returns:
        The groups, the largest first; a name without a separator is a group of its own.
    """
    found: dict[tuple[RecordKind, str], list[int]] = {}
    for each in sizes(backend, prefix):
        name = _group(each.name, separator, len(prefix))
        key = (each.kind, name)
        if key not in found and len(found) >= MOST_GROUPS:
            key = (each.kind, OTHERS)
        counted = found.setdefault(key, [0, 0])
        counted[0] += each.records
        counted[1] += each.bytes
    made = [Sized(kind, name, *counted) for (kind, name), counted in found.items()]
    return sorted(made, key=lambda each: each.bytes, reverse=True)


def queues(backend: Backend, prefix: str = "") -> list[QueueDepth]:
    """Every queue whose name begins with `prefix`, by name."""
    now, found = now_micros(), dict[str, _Depth]()
    for record in scan(innermost(backend), RecordKind.DEFERRED, prefix):
        assert isinstance(record, DeferredMessage)
        found.setdefault(record.queue, _Depth()).count(record, now)
    return [found[queue].told(queue, now) for queue in sorted(found)]


@mutable
class _Depth:
    messages: int = 0
    ready: int = 0
    held: int = 0
    bytes: int = 0
    first: int | None = None

    def count(self, message: DeferredMessage, now: int) -> None:
        self.messages += 1
        self.bytes += len(message.payload)
        visible = to_micros(message.visible)
        if visible > now:
            self.held += bool(message.token)
            return
        self.ready += 1
        self.first = visible if self.first is None else min(self.first, visible)

    def told(self, queue: str, now: int) -> QueueDepth:
        oldest = None if self.first is None else (now - self.first) * MICROSECOND
        return QueueDepth(queue, self.messages, self.ready, self.held, self.bytes, oldest)


def _set_size(backend: Backend, key: str) -> Sized:
    cursor, members, size = None, 0, 0
    while True:
        page = backend.members(key, limit=PAGE, cursor=cursor)
        members += len(page.items)
        size += sum(map(len, page.items))
        cursor = page.cursor
        if cursor is None:
            return Sized(RecordKind.KEY_SET, key, members, size)


def _group(name: str, separator: str, start: int) -> str:
    end = name.find(separator, start)
    return name if end < 0 else name[: end + len(separator)]
