"""`Backend.commit` batch by batch, and what becomes of the rest when one fails; and begun only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from statekeep.errors import InvalidArgument, StorageError, Unavailable
from statekeep.model import Failed, Outcome, Transaction
from statekeep.pending import CallAgain, Steps
from statekeep.sql.batch import Batch, batches

Answers: TypeAlias = list[Outcome | None]
"""Of a `Backend.start_commit`."""


def commit(
    transactions: Sequence[Transaction],
    apply: Callable[[Batch], dict[int, Outcome]],
    done: Mapping[int, Outcome] = MappingProxyType({}),
) -> list[Outcome]:
    """The outcome of each transaction.

    Args:
        transactions: to be applied in this order, each atomic by itself.
        apply: applies a batch in one round trip; the outcomes by the transactions' numbers.
        done: the outcomes of those that have been applied already.
    """
    outcomes = dict(done)
    waiting = batches(transactions, outcomes)
    while waiting:
        batch = waiting.pop(0)
        try:
            outcomes |= apply(batch)
        except InvalidArgument as error:
            if len(batch.numbers) > 1:  # one of them is at fault: each by itself
                waiting[:0] = [Batch.of(number, transactions[number]) for number in batch.numbers]
                continue
            outcomes[batch.numbers[0]] = Failed(error)
        except StorageError as error:
            if not outcomes and not waiting:
                raise
            if not outcomes and isinstance(error, Unavailable):
                raise  # nothing at all was applied
            outcomes |= failed(error, batch, waiting)
            break
    return [outcomes[number] for number in range(len(transactions))]


def failed(error: StorageError, batch: Batch, waiting: Iterable[Batch]) -> dict[int, Outcome]:
    """The outcomes of a batch that failed, and of those after it, which are not sent."""
    outcomes: dict[int, Outcome] = {number: Failed(error) for number in batch.numbers}
    for later in waiting:
        unsent = Unavailable(f"not sent, as what came before it failed: {error}")
        outcomes |= dict.fromkeys(later.numbers, Failed(unsent))
    return outcomes


def begun(count: int, fill: Callable[[dict[int, Outcome]], Steps[None]]) -> Steps[Answers]:
    """The steps of a `Backend.start_commit`.

    Args:
        count: how many transactions there are.
        fill: steps that add outcomes by number until something is in the way; what that is does
            not matter where there is any outcome: the others are committed again.
    """
    done: dict[int, Outcome] = {}
    try:
        yield from fill(done)
    except (CallAgain, StorageError):
        if not done:
            raise
    return [done.get(number) for number in range(count)]
