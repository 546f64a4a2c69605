"""What a commit is called and how much it carries, for those who count or watch calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from statekeep.model import (
    Add,
    DeferredMessage,
    KeyValueRecord,
    Operation,
    Put,
    Remove,
    Restore,
    Schedule,
    Transaction,
)

COMMITS = {each: each.__name__.lower() for each in get_args(Operation)}
"""What an operation that is committed alone is called."""

TRANSACTION, BATCH = "transaction", "batch"


def get_of(keys: Sequence[str]) -> str:
    """What a read of these values is called: `get`, or `get_many`."""
    return "get" if len(keys) == 1 else "get_many"


def members_of(keys: Sequence[str]) -> str:
    """What a read of these sets is called: `members`, or `members_many`."""
    return "members" if len(keys) == 1 else "members_many"


def operation_of(transactions: Sequence[Transaction]) -> str:
    """`put`, `delete`, ... where one operation is committed alone; `transaction`, or `batch`."""
    if len(transactions) != 1:
        return BATCH
    operations = transactions[0].operations
    return COMMITS[type(operations[0])] if len(operations) == 1 else TRANSACTION


def load_of(transactions: Sequence[Transaction]) -> tuple[int, int]:
    """How many operations a commit carries, and how many bytes of values, members, payloads."""
    records = size = 0
    for transaction in transactions:
        operations = transaction.operations
        records += len(operations)
        for operation in operations:
            if type(operation) is Put:  # most are
                size += len(operation.value)
            elif (size_of := _SIZES.get(type(operation))) is not None:
                size += size_of(operation)
    return records, size


def bytes_of_record(record: object) -> int:
    """The length of a record's value or payload; a key-set's members are not in its record."""
    if isinstance(record, KeyValueRecord):
        return len(record.entry.value)
    return len(record.payload) if isinstance(record, DeferredMessage) else 0


_SIZES: dict[type, Callable[[Any], int]] = {
    Schedule: lambda schedule: len(schedule.payload),
    Add: lambda add: sum(map(len, add.members)),
    Remove: lambda remove: sum(map(len, remove.members)),
    Restore: lambda restore: bytes_of_record(restore.record),
}
"""Of the operations that carry something besides `Put`."""
