"""The layer that puts values and payloads into envelopes, compressed where that pays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain

from attrs import evolve

from statekeep import envelope, fork
from statekeep.backend import Backend, BackendStats, Capabilities
from statekeep.compressor import Compressor
from statekeep.envelope import unwrap
from statekeep.layers.base import Layer
from statekeep.model import (
    DeferredMessage,
    Entry,
    KeyValueRecord,
    Operation,
    Outcome,
    Page,
    Put,
    Record,
    RecordKind,
    Restore,
    Schedule,
    Transaction,
    with_operations,
    with_value,
)
from statekeep.pending import CallAgain, Finishing, Pending, finishing
from statekeep.usage import CompressionStats, Usage


class CompressionLayer(Layer):
    """Everything below this layer holds envelopes, everything above it plain values.

    Args:
        inner: the backend that stores the envelopes.
        find: a compressor by the name in an envelope; raises `PluginError` for an unknown one.
        name: the compressor of new values; "" stores them plain.
        min_size: values with fewer bytes are stored plain.
    """

    def __init__(
        self, inner: Backend, find: Callable[[str], Compressor], name: str, min_size: int
    ) -> None:
        super().__init__(inner)
        stored = inner.capabilities
        self._limit = stored.max_value_bytes - envelope.MAX_OVERHEAD
        self._capabilities = evolve(stored, max_value_bytes=self._limit)
        self._find = find
        self._compressor = find(name) if name else None
        self._head = envelope.prefix(name)
        self._min_size = min_size
        # Where the backend has none of its own, no value is wrapped in vain to ask it.
        self._starts = type(inner).start_commit is not Backend.start_commit
        self.after_fork()
        fork.register(self)

    def after_fork(self) -> None:
        """Begins to count at zero: what the parent moved is not the child's."""
        # Added to without a lock: `+=` of a number at hand is one step for the interpreter.
        self._written = self._written_stored = self._read = self._read_stored = 0

    @property
    def capabilities(self) -> Capabilities:
        """Those of the backend inside, with the envelope taken off the largest value."""
        return self._capabilities

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        return self._open_entries(self.inner.get_many(keys))

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`."""
        pending = self.inner.start_get_many(keys)
        return None if pending is None else Finishing(pending, self._open_entries)

    def _open_entries(self, found: dict[str, Entry]) -> dict[str, Entry]:
        """The same dict, with plain values."""
        find, limit = self._find, self._limit
        plain = stored = 0
        for key, entry in found.items():
            value = unwrap(key, entry.value, find, limit)
            stored += len(entry.value)
            plain += len(value)
            found[key] = Entry(value, entry.version, entry.expires)
        self._read += plain
        self._read_stored += stored
        return found

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        claimed = self.inner.claim(queue, limit=limit, lease=lease)
        return [self._open_message(message) for message in claimed]

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        found = self.inner.messages_many(names)
        return {name: self._open_message(message) for name, message in found.items()}

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        page = self.inner.scan(kind, prefix=prefix, limit=limit, cursor=cursor)
        return Page(tuple(self._open_record(record) for record in page.items), page.cursor)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        return self.inner.commit(self._closed(transactions))

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`; not of what is to be compressed, which takes long."""
        if not self._starts or any(map(self._compresses, transactions)):
            return None
        wrapped = self._closed(transactions)

        def answered(outcomes: list[Outcome | None]) -> list[Outcome | None]:
            if None in outcomes:
                both = zip(transactions, outcomes, strict=True)
                self._uncount([each for each, outcome in both if outcome is None])
            return outcomes

        def failed(error: BaseException) -> None:
            if isinstance(error, CallAgain):
                self._uncount(transactions)

        return finishing(lambda: self.inner.start_commit(wrapped), answered, failed)

    def _compresses(self, transaction: Transaction) -> bool:
        if self._compressor is None:
            return False
        return any(len(value) >= self._min_size for value in _values(transaction))

    def _uncount(self, transactions: Iterable[Transaction]) -> None:
        """Nothing of these was written, which were wrapped without being compressed."""
        for value in chain.from_iterable(map(_values, transactions)):
            plain = len(value)
            self._written -= plain
            self._written_stored -= plain + envelope.PLAIN_BYTES

    def stats(self) -> BackendStats:
        """See `Backend.stats`, with what compression gained."""
        return evolve(self.inner.stats(), compression=self._sizes())

    def usage(self) -> Usage:
        """See `Backend.usage`, with what compression gained."""
        return evolve(self.inner.usage(), compression=self._sizes())

    def _sizes(self) -> CompressionStats:
        return CompressionStats(
            written=self._written,
            written_stored=self._written_stored,
            read=self._read,
            read_stored=self._read_stored,
        )

    def _closed(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        return [
            with_operations(tuple([self._close(each) for each in transaction.operations]))
            for transaction in transactions
        ]

    def _close(self, operation: Operation) -> Operation:
        if isinstance(operation, Put):
            return with_value(operation, self._wrap(operation.key, operation.value))
        if isinstance(operation, Schedule):
            stored = self._wrap(_payload_key(operation.name), operation.payload)
            return Schedule(*operation.name, operation.due, stored)
        if isinstance(operation, Restore):
            return Restore(self._close_record(operation.record))
        return operation

    def _close_record(
        self, record: KeyValueRecord | DeferredMessage
    ) -> KeyValueRecord | DeferredMessage:
        if isinstance(record, KeyValueRecord):
            entry = record.entry
            stored = self._wrap(record.key, entry.value)
            return KeyValueRecord(record.key, Entry(stored, entry.version, entry.expires))
        return evolve(record, payload=self._wrap(_payload_key(record.name), record.payload))

    def _open_record(self, record: Record) -> Record:
        if isinstance(record, KeyValueRecord):
            return KeyValueRecord(record.key, self._open_entry(record.key, record.entry))
        if isinstance(record, DeferredMessage):
            return self._open_message(record)
        return record

    def _open_entry(self, key: str, entry: Entry) -> Entry:
        return Entry(self._unwrap(key, entry.value), entry.version, entry.expires)

    def _open_message(self, message: DeferredMessage) -> DeferredMessage:
        key = _payload_key(message.name)
        return evolve(message, payload=self._unwrap(key, message.payload))

    def _unwrap(self, key: str, stored: bytes) -> bytes:
        value = unwrap(key, stored, self._find, self._limit)
        plain, size = len(value), len(stored)
        self._read += plain
        self._read_stored += size
        return value

    def _wrap(self, key: str, value: bytes) -> bytes:
        if self._compressor is None or len(value) < self._min_size:
            stored = envelope.wrap(key, value)
        else:
            stored = envelope.wrap_compressed(key, value, self._head, self._compressor)
        plain, size = len(value), len(stored)
        self._written += plain
        self._written_stored += size
        return stored


def _values(transaction: Transaction) -> Iterator[bytes]:
    for operation in transaction.operations:
        record = operation.record if isinstance(operation, Restore) else operation
        if isinstance(record, Put):
            yield record.value
        elif isinstance(record, Schedule | DeferredMessage):
            yield record.payload
        elif isinstance(record, KeyValueRecord):
            yield record.entry.value


def _payload_key(name: tuple[str, str]) -> str:
    return f"{name[0]}\0{name[1]}"
