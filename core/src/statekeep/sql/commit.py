"""`Backend.commit` batch by batch, and what becomes of the rest when one fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from statekeep.errors import InvalidArgument, StorageError, Unavailable
from statekeep.model import Failed, Outcome, Transaction
from statekeep.sql.batch import Batch, batches


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
            outcomes |= {number: Failed(error) for number in batch.numbers}
            outcomes |= {
                number: Failed(Unavailable(f"not sent, as what came before it failed: {error}"))
                for later in waiting
                for number in later.numbers
            }
            break
    return [outcomes[number] for number in range(len(transactions))]
