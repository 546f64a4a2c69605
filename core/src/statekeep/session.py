"""The one gate between what applications call and the backend: sizes checked, outcomes raised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from statekeep import validate
from statekeep.backend import Backend
from statekeep.errors import LeaseLost, StorageError, VersionConflict
from statekeep.metrics import Recorder
from statekeep.model import (
    Committed,
    Conflict,
    DeferredMessage,
    Failed,
    KeyValueRecord,
    Operation,
    Outcome,
    Put,
    Record,
    RecordKind,
    Restore,
    Schedule,
    Transaction,
)

PAGE = 1000
"""How many records a scan asks for at a time."""

NOTHING_TO_DO = Committed({})
"""What a transaction of no operations comes to."""


class Session:
    """A backend as the application surfaces see it."""

    __slots__ = ("backend", "max_value_bytes", "recorder")

    def __init__(self, backend: Backend, recorder: Recorder | None = None) -> None:
        self.backend = backend
        self.recorder = recorder or Recorder()
        self.max_value_bytes = backend.capabilities.max_value_bytes

    def commit(self, operations: Iterable[Operation]) -> Committed:
        """Applies the operations as one transaction; without any, nothing is sent.

        Raises:
            InvalidArgument: a value too large, two value operations on a key.
            VersionConflict: a version was not the expected one; nothing was applied.
            LeaseLost: a token is stale; nothing was applied.
        """
        transaction = self.transaction(operations)
        if not transaction.operations:
            return NOTHING_TO_DO
        (outcome,) = self.backend.commit((transaction,))
        return raise_unless_committed(outcome)

    def transaction(self, operations: Iterable[Operation]) -> Transaction:
        """The operations as one transaction that the backend can hold.

        Raises:
            InvalidArgument: a value too large, two value operations on a key.
        """
        transaction = Transaction(operations)
        for operation in transaction.operations:
            self._check_size(operation)
        return transaction

    def scan(self, kind: RecordKind, prefix: str) -> Iterator[Record]:
        """See `scan`."""
        return scan(self.backend, kind, prefix)

    def _check_size(self, operation: Operation) -> None:
        if isinstance(operation, Put):
            if len(operation.value) <= self.max_value_bytes:
                return
            validate.size(operation.value, self.max_value_bytes, f"the value of {operation.key!r}")
        elif isinstance(operation, Schedule):
            name = f"{operation.queue!r}/{operation.id!r}"
            validate.size(operation.payload, self.max_value_bytes, f"the payload of {name}")
        elif isinstance(operation, Restore):
            data, name = _content(operation.record)
            validate.size(data, self.max_value_bytes, name)


def scan(backend: Backend, kind: RecordKind, prefix: str) -> Iterator[Record]:
    """All records of a kind whose name begins with `prefix`, page by page."""
    cursor = None
    while True:
        page = backend.scan(kind, prefix=prefix, limit=PAGE, cursor=cursor)
        yield from page.items
        cursor = page.cursor
        if cursor is None:
            return


def raise_unless_committed(outcome: Outcome) -> Committed:
    """The `Committed` outcome, or the error that any other one stands for."""
    if isinstance(outcome, Committed):
        return outcome
    raise error_of(outcome)


def error_of(outcome: Conflict | Failed) -> StorageError:
    """What the caller of a transaction that was not applied is told."""
    if isinstance(outcome, Failed):
        return outcome.error
    if outcome.current:
        return VersionConflict(outcome.current, outcome.lost)
    return LeaseLost(outcome.lost)


def _content(record: KeyValueRecord | DeferredMessage) -> tuple[bytes, str]:
    if isinstance(record, KeyValueRecord):
        return record.entry.value, f"the value of {record.key!r}"
    return record.payload, f"the payload of {record.queue!r}/{record.id!r}"
