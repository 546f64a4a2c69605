"""The contract over plain dicts, under one lock. For development and tests: nothing is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import islice, takewhile
from typing import TypeVar

from statekeep import cursors, fork
from statekeep.backend import (
    LARGE_VALUE_BYTES,
    Backend,
    BackendStats,
    Capabilities,
    KindStats,
    Target,
)
from statekeep.clock import now_micros
from statekeep.errors import Closed, Unavailable
from statekeep.findings import Finding
from statekeep.model import (
    DeferredMessage,
    Entry,
    KeySetRecord,
    KeyValueRecord,
    Outcome,
    Page,
    Record,
    RecordKind,
    Transaction,
)

from statekeep_memory import doctor
from statekeep_memory.state import State

T = TypeVar("T")

FORK_PATIENCE = 10.0
"""How long a fork waits for a call of another thread, in seconds."""

CAPABILITIES = Capabilities(durable=False, shared=False, max_value_bytes=LARGE_VALUE_BYTES)


class MemoryBackend(Backend):
    """State that lives as long as this object. A forked child goes on with its own copy.

    Args:
        clock: the current time in microseconds; tests set it back.
    """

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        self._lock = threading.RLock()
        self._clock = clock
        self._state = State(clock)
        self._closed = self._paused = self._changing = False
        fork.register_pausing(self)

    @property
    def capabilities(self) -> Capabilities:
        """Nothing durable, nothing shared; everything else."""
        return CAPABILITIES

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        return Target("memory")

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        with self._lock:
            return self._entries(keys)

    def _entries(self, keys: Sequence[str]) -> dict[str, Entry]:
        state = self._opened()
        found = ((key, state.entry(key)) for key in keys)
        return {key: entry for key, entry in found if entry is not None}

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """See `Backend.peek`: the answer, unless another thread is at work."""
        return self._unless_busy(self._entries, keys)

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """See `Backend.peek_members`."""
        return self._unless_busy(self._members, keys)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        with self._lock:
            return self._members(keys)

    def _members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        sets = self._opened().sets
        return {key: frozenset(sets.get(key, ())) for key in keys}

    def _unless_busy(self, read: Callable[[Sequence[str]], T], keys: Sequence[str]) -> T | None:
        try:  # an interrupt may come right behind `acquire`
            if not self._lock.acquire(blocking=False) or self._changing:
                return None
            return read(keys)
        finally:
            with suppress(RuntimeError):  # not acquired
                self._lock.release()

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        scope = f"members {key}"
        position = cursors.decode(scope, cursor)
        with self._lock:
            state = self._opened()
            members = state.sets.get(key)
            if members is None:
                return Page(())
            return _page(scope, members.after(b"", position), limit, bytes)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        with self._lock:
            state = self._opened()
            held = state.sets.get(key, ())
            return frozenset(member for member in members if member in held)

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        with self._lock:
            messages = self._opened().messages
            return {name: messages[name] for name in names if name in messages}

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        return self._change(lambda state: state.claim(queue, limit, lease))

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        scope = f"{kind.value} {prefix}"
        position = cursors.decode(scope, cursor)
        with self._lock:
            state = self._opened()
            names = self._names(state, kind, prefix, position)
            page = _page(scope, names, limit, str.encode)
            return Page(tuple(_records(state, kind, page.items)), page.cursor)

    def _names(
        self, state: State, kind: RecordKind, prefix: str, position: bytes | None
    ) -> Iterator[str]:
        behind = None if position is None else position.decode()
        if kind is RecordKind.KEY_VALUE:
            names = state.values.after(prefix, behind)
        elif kind is RecordKind.KEY_SET:
            names = state.sets.after(prefix, behind)
        else:
            start = _split(prefix)
            last = None if behind is None else _split(behind)
            names = ("\0".join(name) for name in state.messages.after(start, last))
        return takewhile(lambda name: name.startswith(prefix), names)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        return self._change(lambda state: [state.apply(each) for each in transactions])

    def setup(self) -> None:
        """There is nothing to create."""
        self.ping()

    def ping(self) -> None:
        """See `Backend.ping`."""
        with self._lock:
            self._opened()

    def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        with self._lock:
            state = self._opened()
            values = [len(entry.value) for entry in state.values.values()]
            sets = [len(member) for members in state.sets.values() for member in members]
            payloads = [len(message.payload) for message in state.messages.values()]
            return BackendStats(
                kinds={
                    RecordKind.KEY_VALUE: KindStats(records=len(values), bytes=sum(values)),
                    RecordKind.KEY_SET: KindStats(records=len(state.sets), bytes=sum(sets)),
                    RecordKind.DEFERRED: KindStats(records=len(payloads), bytes=sum(payloads)),
                }
            )

    def examine(self) -> Iterator[Finding]:
        """See `Backend.examine`."""
        return doctor.examine(self, self._clock())

    def purge(self) -> int:
        """See `Backend.purge`."""
        return self._change(lambda state: state.purge())

    def close(self) -> None:
        """See `Backend.close`."""
        self._closed = True

    def before_fork(self) -> None:
        """Waits for the call of another thread: the child could not end what it copied half."""
        self._paused = self._lock.acquire(timeout=FORK_PATIENCE)

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        if self._paused:
            self._lock.release()

    def after_fork(self) -> None:
        """Goes on in the child."""
        self._lock = threading.RLock()

    def _change(self, work: Callable[[State], T]) -> T:
        if self._lock._is_owned():  # type: ignore[attr-defined]
            raise self._reentered()
        with self._lock:
            state = self._opened()
            try:
                self._changing = True
                return work(state)
            finally:
                self._changing = False

    def _opened(self) -> State:
        if self._closed:
            raise Closed("this memory storage is closed; open another one")
        if self._changing:
            raise self._reentered()
        return self._state

    def _reentered(self) -> Unavailable:
        return Unavailable(
            "this memory storage was called by a signal handler or finalizer in the middle of "
            "another call of its thread; nothing of it was applied"
        )


def _split(name: str) -> tuple[str, str]:
    queue, _, id = name.partition("\0")
    return queue, id


def _page(scope: str, names: Iterator[T], limit: int, encode: Callable[[T], bytes]) -> Page[T]:
    items = tuple(islice(names, limit + 1))
    if len(items) <= limit:
        return Page(items)
    return Page(items[:limit], cursors.encode(scope, encode(items[limit - 1])))


def _records(state: State, kind: RecordKind, names: Sequence[str]) -> Iterator[Record]:
    for name in names:
        if kind is RecordKind.KEY_VALUE:
            entry = state.entry(name)
            if entry is not None:
                yield KeyValueRecord(name, entry)
        elif kind is RecordKind.KEY_SET:
            yield KeySetRecord(name)
        else:
            yield state.messages[_split(name)]
