"""The layer that answers reads from a cache in this process.

A cached entry carries its version, so the worst that its age can do is a conflict. A read that
began before a write in this process never fills the cache after it: each read under way holds a
ticket for its keys, every write revokes the tickets of its keys when it has ended, however it
ended, and only a ticket that still stands may fill.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from attrs import evolve

from statekeep import fork
from statekeep.backend import Backend, BackendStats, Capabilities
from statekeep.cache import Cache, CacheStats
from statekeep.clock import now_micros, to_micros
from statekeep.layers.base import Layer
from statekeep.model import Add, Entry, Outcome, Remove, Transaction, value_key
from statekeep.pending import Pending, finishing
from statekeep.usage import Usage

V = TypeVar("V")


class Tickets(Generic[V]):
    """A cache of one kind, and the reads under way that may fill it."""

    def __init__(self, cache: Cache, size: Callable[[V], int]) -> None:
        self.cache = cache
        self._size = size
        self._lock = threading.Lock()
        self._reading: dict[str, object] = {}
        self.peeked_hits = self.peeked_misses = 0

    def get(self, key: str) -> V | None:
        """The cached value, or None."""
        value: V | None = self.cache.get(key)
        return value

    def all_cached(self, keys: Sequence[str], usable: Callable[[V], bool]) -> dict[str, V] | None:
        """The values of these keys, or None where one is missing: a read follows that counts."""
        found: dict[str, V] = {}
        for key in keys:
            value: V | None = self.cache.get(key)
            if value is None or not usable(value):
                self.peeked_misses += value is None
                self.peeked_hits += len(found) + (value is not None)
                return None
            found[key] = value
        return found

    def started(
        self,
        keys: Sequence[str],
        start: Callable[[Sequence[str]], Pending[dict[str, V]] | None],
        usable: Callable[[V], bool],
    ) -> Pending[dict[str, V]] | None:
        """A read that began of what is not cached; None where all is, or it could not begin."""
        looked = {key: value for key in keys if (value := self.get(key)) is not None}
        hits, misses = len(looked), len(keys) - len(looked)
        self.peeked_hits += hits
        self.peeked_misses += misses
        found = {key: value for key, value in looked.items() if usable(value)}
        absent = [key for key in keys if key not in found]
        if not absent:
            return None
        ticket = self.begin(absent)

        def answered(read: dict[str, V]) -> dict[str, V]:
            self.peeked_hits -= hits
            self.peeked_misses -= misses
            self.fill(ticket, absent, read)
            return found | read

        return finishing(
            lambda: start(absent), answered, lambda error: self.fill(ticket, absent, {})
        )

    def begin(self, keys: Iterable[str]) -> object:
        """A ticket for a read of these keys that begins now."""
        ticket = object()
        with self._lock:
            self._reading.update(dict.fromkeys(keys, ticket))
        return ticket

    def fill(self, ticket: object, keys: Iterable[str], found: dict[str, V]) -> None:
        """Caches what the read found, for the keys that nobody wrote (or began to read) since."""
        with self._lock:
            for key in keys:
                if self._reading.get(key) is ticket:
                    del self._reading[key]
                    if key in found:
                        self.cache.put(key, found[key], self._size(found[key]))

    def revoke(self, keys: Iterable[str]) -> None:
        """Forgets keys, and forbids the reads of them that are under way to fill."""
        with self._lock:
            for key in keys:
                self._reading.pop(key, None)
                self.cache.discard(key)

    def stats(self) -> CacheStats:
        """The cache's counters, without what was looked up in vain: a read follows that counts."""
        counted = self.cache.stats()
        return evolve(
            counted,
            hits=max(0, counted.hits - self.peeked_hits),
            misses=max(0, counted.misses - self.peeked_misses),
        )

    def after_fork(self) -> None:
        """Renews the lock, which a thread that the child does not have may hold."""
        self._lock = threading.Lock()
        self._reading.clear()


class CachingLayer(Layer):
    """Reads through caches of entries and of sets; either may be missing.

    A change feed of the store may drop what others changed through `forget`.
    """

    def __init__(self, inner: Backend, values: Cache | None, sets: Cache | None) -> None:
        super().__init__(inner)
        self._values = None if values is None else Tickets[Entry](values, _entry_size)
        self._sets = None if sets is None else Tickets[frozenset[bytes]](sets, _set_size)
        stored = inner.capabilities
        self._capabilities = evolve(
            stored, snapshot_reads=False, fresh_reads=stored.fresh_reads and not stored.shared
        )
        fork.register(self)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the backend inside, but what is cached is of several, and earlier, instants."""
        return self._capabilities

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`. Several keys are one snapshot only where none is cached."""
        if self._values is None:
            return self.inner.get_many(keys)
        if len(keys) == 1:  # the most frequent call, answered without more ado
            entry = self._values.cache.get(keys[0])
            if entry is not None and (entry.expires is None or _fresh(entry)):
                return {keys[0]: entry}
            return _read(self._values, keys, self.inner.get_many)
        return _through(self._values, keys, self.inner.get_many, _fresh)

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """See `Backend.peek`: the entries, where all are cached."""
        if self._values is None:
            return None
        return self._values.all_cached(keys, _fresh)

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`; of what is not cached."""
        if self._values is None:
            return self.inner.start_get_many(keys)
        return self._values.started(keys, self.inner.start_get_many, _fresh)

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """See `Backend.peek_members`."""
        if self._sets is None:
            return None
        return self._sets.all_cached(keys, lambda members: True)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        if self._sets is None:
            return self.inner.members_many(keys)
        return _through(self._sets, keys, self.inner.members_many, lambda members: True)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`. A conflict drops the entries too: they were stale.

        They are dropped before, too: an interrupt (Ctrl-C) after the write may come before the
        second time.
        """
        values, sets = _written(transactions)
        self.forget(values, sets)
        try:
            return self.inner.commit(transactions)
        finally:
            self.forget(values, sets)

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`; as with `commit`."""
        values, sets = _written(transactions)
        self.forget(values, sets)

        def answered(outcomes: list[Outcome | None]) -> list[Outcome | None]:
            self.forget(values, sets)
            return outcomes

        return finishing(
            lambda: self.inner.start_commit(transactions),
            answered,
            lambda error: self.forget(values, sets),
        )

    def stats(self) -> BackendStats:
        """See `Backend.stats`, with the caches' counters."""
        return evolve(self.inner.stats(), caches=self._caches())

    def usage(self) -> Usage:
        """See `Backend.usage`, with the caches' counters."""
        return evolve(self.inner.usage(), caches=self._caches())

    def _caches(self) -> dict[str, CacheStats]:
        both = {"key_value": self._values, "key_set": self._sets}
        return {name: tickets.stats() for name, tickets in both.items() if tickets is not None}

    def forget(self, values: Iterable[str], sets: Iterable[str]) -> None:
        """Drops cached entries and sets, and bars reads under way from putting them back."""
        if self._values is not None:
            self._values.revoke(values)
        if self._sets is not None:
            self._sets.revoke(sets)

    def after_fork(self) -> None:
        """The child goes on with its copy of the caches."""
        for tickets in (self._values, self._sets):
            if tickets is not None:
                tickets.after_fork()


def _written(transactions: Sequence[Transaction]) -> tuple[set[str], set[str]]:
    """The keys of values, and those of sets."""
    operations = [each for transaction in transactions for each in transaction.operations]
    values = {key for each in operations if (key := value_key(each)) is not None}
    return values, {each.key for each in operations if isinstance(each, Add | Remove)}


def _through(
    tickets: Tickets[V],
    keys: Sequence[str],
    read: Callable[[Sequence[str]], dict[str, V]],
    usable: Callable[[V], bool],
) -> dict[str, V]:
    found: dict[str, V] = {}
    absent: list[str] = []
    for key in keys:
        value = tickets.get(key)
        if value is not None and usable(value):
            found[key] = value
        else:
            absent.append(key)
    if absent:
        found.update(_read(tickets, absent, read))
    return found


def _read(
    tickets: Tickets[V], keys: Sequence[str], read: Callable[[Sequence[str]], dict[str, V]]
) -> dict[str, V]:
    ticket = tickets.begin(keys)
    found: dict[str, V] = {}
    try:
        found = read(keys)
    finally:
        tickets.fill(ticket, keys, found)
    return found


def _fresh(entry: Entry) -> bool:
    return entry.expires is None or to_micros(entry.expires) > now_micros()


def _entry_size(entry: Entry) -> int:
    return len(entry.value)


def _set_size(members: frozenset[bytes]) -> int:
    return sum(map(len, members))
