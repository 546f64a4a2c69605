"""Sends operations to a target in as few calls as carry them, until each one has an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from statekeep.backend import AtomicScope, Backend
from statekeep.migration.patience import TRANSIENT, Patience
from statekeep.migration.selection import described, size_of
from statekeep.model import (
    Add,
    Conflict,
    Failed,
    Operation,
    Outcome,
    Remove,
    Restore,
    with_operations,
)

TOGETHER = 100
"""Operations of one transaction, where one may hold any: a store does them faster than one by one,
and none of them keeps it from others for long."""

MOST_BYTES = 4 * 2**20
"""Bytes of one call, unless a single operation is larger."""

MOST_CONDITIONAL = 1000
"""Transactions of one operation, of one call."""


@frozen
class Refused:
    """An operation whose condition did not hold.

    Attributes:
        operation: it.
        conflict: what was found instead.
    """

    operation: Operation
    conflict: Conflict


def commit(target: Backend, operations: Sequence[Operation], patience: Patience) -> None:
    """Applies operations without conditions, which may be applied twice; no two on one record.

    Raises:
        StorageError: the target refused one of them, which is named, or is away for too long.
    """
    alone = target.capabilities.atomic_scope is not AtomicScope.EVERYTHING
    for call in _calls(operations, 1 if alone else TOGETHER):
        _send(target, call, patience)


def commit_conditional(
    target: Backend, operations: Sequence[Operation], patience: Patience
) -> list[Refused]:
    """Applies operations, each by itself, and returns those whose condition did not hold.

    One whose answer was lost is tried again, so it may be refused although it was applied.
    """
    refused: list[Refused] = []
    for call in _calls(operations, 1, MOST_CONDITIONAL):
        refused += _send(target, call, patience)
    return refused


def _send(
    target: Backend, groups: Sequence[Sequence[Operation]], patience: Patience
) -> list[Refused]:
    """Commits each group as a transaction; of one that the target cannot do, each operation."""
    waiting = [tuple(group) for group in groups]
    refused: list[Refused] = []

    def attempt() -> None:
        outcomes = target.commit([with_operations(group) for group in waiting])
        answered = list(zip(waiting, outcomes, strict=True))
        for group, outcome in answered:
            if isinstance(outcome, Conflict):
                refused.append(Refused(group[0], outcome))
        waiting[:] = [group for group, outcome in answered if isinstance(outcome, Failed)]
        for group, outcome in answered:
            _raise_if_final(group, outcome)
        waiting[:] = [(operation,) for group in waiting for operation in group]

    while waiting:
        patience.call(attempt)
    return refused


def _raise_if_final(group: Sequence[Operation], outcome: Outcome) -> None:
    if not isinstance(outcome, Failed):
        return
    if isinstance(outcome.error, TRANSIENT):
        raise outcome.error
    if len(group) == 1:
        outcome.error.add_note(f"it is the {_described(group[0])} that the target refused")
        raise outcome.error


def _described(operation: Operation) -> str:
    if isinstance(operation, Restore):
        return described(operation.record)
    return f"{type(operation).__name__.lower()} of {getattr(operation, 'key', '')!r}"


def _size(operation: Operation) -> int:
    if isinstance(operation, Restore):
        return size_of(operation.record)
    return sum(map(len, operation.members)) if isinstance(operation, Add | Remove) else 0


def _calls(
    operations: Sequence[Operation], together: int, most: int | None = None
) -> Iterator[list[list[Operation]]]:
    """The operations in groups, and the groups in calls, within the bounds of this module."""
    call: list[list[Operation]] = []
    size = count = 0
    for operation in operations:
        more = _size(operation)
        if call and (size + more > MOST_BYTES or count == most):
            yield call
            call, size, count = [], 0, 0
        if not call or len(call[-1]) == together:
            call.append([])
        call[-1].append(operation)
        size, count = size + more, count + 1
    if call:
        yield call
