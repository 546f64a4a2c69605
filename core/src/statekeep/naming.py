"""What a commit is called and how much it carries, for those who count or watch calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

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
        for operation in transaction.operations:
            records += 1
            size += len(operation.value) if type(operation) is Put else _bytes(operation)
    return records, size


def _bytes(operation: Operation) -> int:
    if isinstance(operation, Schedule):
        return len(operation.payload)
    if isinstance(operation, Add | Remove):
        return sum(map(len, operation.members))
    if isinstance(operation, Restore):
        return bytes_of_record(operation.record)
    return 0


def bytes_of_record(record: object) -> int:
    """The length of a record's value or payload; a key-set's members are not in its record."""
    if isinstance(record, KeyValueRecord):
        return len(record.entry.value)
    return len(record.payload) if isinstance(record, DeferredMessage) else 0
