"""`commit`: one statement for a put over what is there, a call of a function for anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from statekeep.clock import duration_micros
from statekeep.errors import InvalidArgument, OutcomeUnknown
from statekeep.model import Committed, Outcome, Put, Transaction
from statekeep.pending import Pending, Steps
from statekeep.sql import commit as by_batches
from statekeep.sql.batch import MOST_BYTES, Batch, batches
from statekeep.updates import updates

from statekeep_postgres.database import Database
from statekeep_postgres.driver import Connection
from statekeep_postgres.reading import Rows
from statekeep_postgres.statements import Statements
from statekeep_postgres.wire import MAX_MESSAGE_BYTES, Statement


def commit(
    database: Database, statements: Statements, transactions: Sequence[Transaction]
) -> list[Outcome]:
    """See `Backend.commit`."""
    done: dict[int, Outcome] = {}
    for statement, values, read in _simple(statements, transactions):
        done |= read(database.write(statement, *values))
    if len(done) == len(transactions):
        return [done[number] for number in range(len(transactions))]

    def apply(batch: Batch) -> dict[int, Outcome]:
        rows = database.write(statements.commit, *parameters(batch)) if _sent(batch) else []
        return batch.outcomes(rows)

    return by_batches.commit(transactions, apply, done)


def start(
    database: Database, statements: Statements, transactions: Sequence[Transaction]
) -> Pending[by_batches.Answers] | None:
    """See `Backend.start_commit`."""

    def steps(connection: Connection) -> Steps[by_batches.Answers]:
        fill = partial(_begun, connection, statements, transactions)
        return by_batches.begun(len(transactions), fill)

    return database.start(steps) if transactions else None


def _begun(
    connection: Connection,
    statements: Statements,
    transactions: Sequence[Transaction],
    done: dict[int, Outcome],
) -> Steps[None]:
    """Adds outcomes, as `commit` makes them, until something is in the way."""
    for statement, values, read in _simple(statements, transactions):
        done |= read((yield connection.begin(statement, *values, writes=True)))
    waiting = batches(transactions, done)
    while waiting:
        batch = waiting.pop(0)
        rows: Rows = []
        if _sent(batch):
            try:
                rows = yield connection.begin(statements.commit, *parameters(batch), writes=True)
            except OutcomeUnknown as error:
                done |= by_batches.failed(error, batch, waiting)
                return
        done |= batch.outcomes(rows)


def _simple(
    statements: Statements, transactions: Sequence[Transaction]
) -> Iterator[tuple[Statement, Sequence[Any], Callable[[Rows], dict[int, Outcome]]]]:
    """Statements for puts over what is there: for one that is alone, or for several that could be.

    Each with its parameters, and what makes outcomes of its rows. Left out are those whose value is
    of another version, or is not there: the general way then finds out why, which may have changed,
    and creates what is absent.
    """
    if len(transactions) == 1:
        operations = transactions[0].operations
        put = operations[0] if len(operations) == 1 else None
        if isinstance(put, Put) and put.expected != 0:
            yield *_put(statements, put), partial(_written, {0: put})
        return
    puts: dict[int, Put] = {}
    size = 0
    for number, put in updates(transactions, MOST_BYTES).items():
        size += len(put.value)
        if size > MOST_BYTES:
            break  # the others go the general way
        puts[number] = put
    if puts:
        keys, expected, values = zip(
            *((put.key, put.expected, put.value) for put in puts.values()), strict=True
        )
        yield statements.updates, (keys, expected, values), partial(_updated, puts)


def _put(statements: Statements, put: Put) -> tuple[Statement, Sequence[Any]]:
    if put.ttl is None:
        return statements.put, (put.key, put.expected, put.value)
    return statements.put_for, (put.key, put.expected, put.value, duration_micros(put.ttl))


def _written(puts: dict[int, Put], rows: Rows) -> dict[int, Outcome]:
    return {number: Committed({put.key: rows[0][0]}) for number, put in puts.items() if rows}


def _updated(puts: dict[int, Put], rows: Rows) -> dict[int, Outcome]:
    versions: dict[str, int] = dict(rows)
    return {
        number: Committed({put.key: versions[put.key]})
        for number, put in puts.items()
        if put.key in versions
    }


def _sent(batch: Batch) -> bool:
    """Whether there is something to be sent; raises where it is too much."""
    if batch.bytes > MAX_MESSAGE_BYTES:
        raise InvalidArgument(
            f"a transaction has {batch.bytes} bytes, PostgreSQL takes at most {MAX_MESSAGE_BYTES} "
            "in one statement: nothing was sent; split it"
        )
    return bool(batch.values or batch.messages or batch.sets)


def parameters(batch: Batch) -> tuple[Sequence[Any], ...]:
    """The arrays that the function takes, in its order."""
    messages = [
        (n, m.what, *name, m.token, m.due, m.visible, m.attempt, m.holder, m.payload, m.ask)
        for n, name, m in batch.messages
    ]
    return (*_columns(batch.values, 7), *_columns(messages, 11), *_columns(batch.sets, 4))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    return tuple(zip(*rows, strict=True)) if rows else ((),) * width
