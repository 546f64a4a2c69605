"""`commit`: one statement for a put over what is there, a call of a function for anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from statekeep.clock import duration_micros
from statekeep.errors import InvalidArgument
from statekeep.model import Committed, Outcome, Put, Transaction
from statekeep.sql import commit as by_batches
from statekeep.sql.batch import MOST_BYTES, Batch
from statekeep.updates import updates

from statekeep_postgres.database import Database
from statekeep_postgres.statements import Statements
from statekeep_postgres.wire import MAX_MESSAGE_BYTES


def commit(
    database: Database, statements: Statements, transactions: Sequence[Transaction]
) -> list[Outcome]:
    """See `Backend.commit`."""
    if len(transactions) == 1:
        operations = transactions[0].operations
        if len(operations) == 1 and isinstance(operations[0], Put) and operations[0].expected != 0:
            outcome = _put(database, statements, operations[0])
            if outcome is not None:
                return [outcome]
    done = _updated(database, statements, transactions)
    return by_batches.commit(transactions, lambda batch: _apply(database, statements, batch), done)


def _updated(
    database: Database, statements: Statements, transactions: Sequence[Transaction]
) -> dict[int, Outcome]:
    """The outcomes, by number, of those that are a conditional put which the condition allows.

    One statement for all of them, where there are several. What it leaves has another version.
    """
    found: dict[int, Put] = {}
    size = 0
    for number, put in updates(transactions, MOST_BYTES).items():
        size += len(put.value)
        if size > MOST_BYTES:
            break  # the others go the general way
        found[number] = put
    if not found:
        return {}
    puts = found.values()
    rows = database.write(
        statements.updates,
        [put.key for put in puts],
        [put.expected for put in puts],
        [put.value for put in puts],
    )
    versions: dict[str, int] = dict(rows)
    return {
        number: Committed({put.key: versions[put.key]})
        for number, put in found.items()
        if put.key in versions
    }


def _put(database: Database, statements: Statements, put: Put) -> Outcome | None:
    """The outcome of a put over what is there; None where nothing is, or of another version.

    The general way then finds out why, which may have changed, and creates what is absent.
    """
    if put.ttl is None:
        rows = database.write(statements.put, put.key, put.expected, put.value)
    else:
        ttl = duration_micros(put.ttl)
        rows = database.write(statements.put_for, put.key, put.expected, put.value, ttl)
    return Committed({put.key: rows[0][0]}) if rows else None


def _apply(database: Database, statements: Statements, batch: Batch) -> dict[int, Outcome]:
    if batch.bytes > MAX_MESSAGE_BYTES:
        raise InvalidArgument(
            f"a transaction has {batch.bytes} bytes, PostgreSQL takes at most {MAX_MESSAGE_BYTES} "
            "in one statement: nothing was sent; split it"
        )
    if not (batch.values or batch.messages or batch.sets):
        return {number: Committed({}) for number in batch.numbers}
    return batch.outcomes(database.write(statements.commit, *parameters(batch)))


def parameters(batch: Batch) -> tuple[Sequence[Any], ...]:
    """The arrays that the function takes, in its order."""
    messages = [
        (n, m.what, *name, m.token, m.due, m.visible, m.attempt, m.holder, m.payload, m.ask)
        for n, name, m in batch.messages
    ]
    return (*_columns(batch.values, 7), *_columns(messages, 11), *_columns(batch.sets, 4))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width
