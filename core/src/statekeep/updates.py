"""For backends: finds, in a commit of several transactions, what one simple statement can do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from statekeep.model import Put, Transaction, value_key


def updates(transactions: Sequence[Transaction], most_bytes: int) -> dict[int, Put]:
    """By number: the transactions that are one put over a value which is expected to be there.

    This is what many callers together mostly write. Left out are keys that several transactions
    concern, as their order counts, puts with a time to live, and values above `most_bytes`. The
    others share no record with any transaction, so they may be applied at any moment. Empty where
    there are fewer than two.
    """
    found: dict[int, Put] = {}
    for number, transaction in enumerate(transactions):
        if len(transaction.operations) == 1:
            put = transaction.operations[0]
            if isinstance(put, Put) and put.expected and put.ttl is None:
                found[number] = put
    if len(found) < 2:
        return {}
    touched = Counter(
        value_key(operation) for transaction in transactions for operation in transaction.operations
    )
    alone = {
        number: put
        for number, put in found.items()
        if touched[put.key] == 1 and len(put.value) <= most_bytes
    }
    return alone if len(alone) > 1 else {}
