"""The contract over plain dicts: what the state machine compares a store with.

Written for being read, not for speed, and with nothing of any backend in it.
"""

from __future__ import annotations

from datetime import datetime

from attrs import field, mutable

from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    Delete,
    Extend,
    Operation,
    Put,
    Release,
    Remove,
    Schedule,
    Transaction,
)

Rank = tuple[int, datetime | int]


@mutable
class Waiting:
    """A message: `rank` orders what can be claimed (by due time, then by return); None cannot."""

    payload: bytes
    rank: Rank | None
    token: str = ""
    attempt: int = 0


@mutable
class Reference:
    """What a store should hold, and how it should answer."""

    values: dict[str, tuple[bytes, int]] = field(factory=dict)
    sets: dict[str, set[bytes]] = field(factory=dict)
    messages: dict[str, Waiting] = field(factory=dict)
    highest: dict[str, int] = field(factory=dict)
    releases: int = 0

    def version(self, key: str) -> int:
        """The version of a key, 0 where it is absent."""
        return self.values.get(key, (b"", 0))[1]

    def conflict(self, transaction: Transaction) -> Conflict | None:
        """The conflict that a transaction must meet, if any."""
        current: dict[str, int] = {}
        lost: list[tuple[str, str]] = []
        for operation in transaction.operations:
            if isinstance(operation, Put | Delete | Check):
                version = self.version(operation.key)
                if operation.expected is not None and version != operation.expected:
                    current[operation.key] = version
            elif isinstance(operation, Acknowledge | Release | Extend):
                message = self.messages.get(operation.id)
                if message is None or message.token != operation.token:
                    lost.append(operation.name)
        return Conflict(current, tuple(lost)) if current or lost else None

    def apply(self, transaction: Transaction, outcome: Committed) -> None:
        """Does what the transaction says, and checks what the store answered."""
        deleted: set[str] = set()
        cancelled: set[tuple[str, str]] = set()
        for operation in transaction.operations:
            if isinstance(operation, Put):
                self._put(operation, outcome.versions[operation.key])
            elif isinstance(operation, Delete):
                if self.values.pop(operation.key, None) is not None:
                    deleted.add(operation.key)
                assert outcome.versions[operation.key] == 0
            elif isinstance(operation, Add | Remove):
                self._change_set(operation)
            elif isinstance(operation, Cancel):
                if self.messages.pop(operation.id, None) is not None:
                    cancelled.add(operation.name)
            else:
                self._change_message(operation)
        assert outcome.deleted == deleted
        assert outcome.cancelled == cancelled

    def _put(self, operation: Put, version: int) -> None:
        key = operation.key
        before = self.version(key)
        assert not before or version == before + 1, "an update adds one"
        assert version > self.highest.get(key, 0), "a version came twice"
        self.highest[key] = version
        self.values[key] = (operation.value, version)

    def _change_set(self, operation: Add | Remove) -> None:
        members = self.sets.setdefault(operation.key, set())
        if isinstance(operation, Add):
            members.update(operation.members)
        else:
            members.difference_update(operation.members)
        if not members:
            del self.sets[operation.key]

    def _change_message(self, operation: Operation) -> None:
        if isinstance(operation, Schedule):
            due = operation.due
            rank = (0, due) if isinstance(due, datetime) else None
            self.messages[operation.id] = Waiting(operation.payload, rank)
        elif isinstance(operation, Acknowledge):
            del self.messages[operation.id]
        elif isinstance(operation, Release):
            self.releases += 1
            message = self.messages[operation.id]
            message.rank, message.token = (1, self.releases), ""
