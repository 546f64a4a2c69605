"""`storage.transaction()`: a unit of work, collected in a block and committed at its end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType

from statekeep.errors import InvalidArgument
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    DeferredMessage,
    Delete,
    Extend,
    Operation,
    Put,
    Release,
    Remove,
    Schedule,
)
from statekeep.session import Session


class Collected:
    """What a transaction's block collects, whoever commits it."""

    _block = "with storage.transaction() as tx: ..."

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._versions: Mapping[str, int] | None = None
        self._entered = self._done = False

    @property
    def versions(self) -> Mapping[str, int]:
        """After the commit: the new version of every key put, 0 for a deleted one.

        Raises:
            InvalidArgument: the transaction is not committed.
        """
        if self._versions is None:
            raise InvalidArgument("versions are known after the transaction's block has ended")
        return self._versions

    def put(
        self,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        ttl: timedelta | None = None,
    ) -> None:
        """Writes a value, under the conditions of `storage.values.put`."""
        self._collect(Put(key, value, expected, ttl))

    def delete(self, key: str, *, expected: int | None = None) -> None:
        """Removes a value; no error where there is none."""
        self._collect(Delete(key, expected))

    def check(self, key: str, version: int) -> None:
        """Lets the transaction apply only if the key is at this version (0: absent)."""
        self._collect(Check(key, version))

    def add(self, key: str, *members: bytes) -> None:
        """Adds members to a key-set."""
        self._collect(Add(key, members))

    def remove(self, key: str, *members: bytes) -> None:
        """Removes members from a key-set."""
        self._collect(Remove(key, members))

    def schedule(
        self, queue: str, id: str, *, due: datetime | timedelta, payload: bytes = b""
    ) -> None:
        """Puts a message in a queue, or moves it."""
        self._collect(Schedule(queue, id, due, payload))

    def cancel(self, queue: str, id: str) -> None:
        """Removes a message."""
        self._collect(Cancel(queue, id))

    def acknowledge(self, message: DeferredMessage) -> None:
        """Removes a claimed message; fails the transaction if its lease was lost."""
        self._collect(Acknowledge(*message.name, message.token))

    def release(self, message: DeferredMessage, *, delay: timedelta = timedelta(0)) -> None:
        """Gives a claimed message back; fails the transaction if its lease was lost."""
        self._collect(Release(*message.name, message.token, delay))

    def extend(self, message: DeferredMessage, lease: timedelta) -> None:
        """Prolongs a claim; fails the transaction if its lease was lost."""
        self._collect(Extend(*message.name, message.token, lease=lease))

    def _collect(self, operation: Operation) -> None:
        if self._done:
            raise InvalidArgument("this transaction has ended: begin another one")
        if not self._entered:
            raise InvalidArgument(f"a transaction is a block: {self._block}")
        self._operations.append(operation)

    def _enter(self) -> None:
        if self._done:
            raise InvalidArgument("this transaction has ended: begin another one")
        if self._entered:
            raise InvalidArgument("this transaction's block was entered already: begin another one")
        self._entered = True

    def _committed(self, committed: Committed) -> None:
        self._versions = MappingProxyType(dict(committed.versions))


class UnitOfWork(Collected):
    """Collects operations and commits them together: all are applied, or none.

    Nothing is sent before the end of the block; an exception inside it sends nothing at all.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def __enter__(self) -> UnitOfWork:
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done = True
        if error is None:
            self._committed(self._session.commit(self._operations))
