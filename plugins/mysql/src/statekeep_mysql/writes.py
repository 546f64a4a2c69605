"""`commit`: one statement for a conditional put, one packet of statements for anything else."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from attrs import frozen
from statekeep.clock import duration_micros
from statekeep.errors import InvalidArgument, OutcomeUnknown
from statekeep.model import Committed, Conflict, Failed, Outcome, Put, Transaction
from statekeep.pending import CallAgain, Pending, Steps
from statekeep.sql import commit as by_batches
from statekeep.sql.batch import (
    CANCELLED,
    CONFLICTING,
    DELETE,
    DELETED,
    LOST,
    PUT,
    WRITTEN,
    Batch,
    batches,
)
from statekeep.updates import updates

from statekeep_mysql.database import Database
from statekeep_mysql.driver import Connection, Stopped
from statekeep_mysql.failures import GUARD
from statekeep_mysql.names import Names
from statekeep_mysql.reading import Result
from statekeep_mysql.script import Script
from statekeep_mysql.statements import Statements
from statekeep_mysql.talking import Request, Talk, begun

BEGIN, COMMIT, ROLLBACK = "BEGIN", "COMMIT", "ROLLBACK"

Reports: TypeAlias = list[tuple[int, int, int]]
"""`(what, item, result)` each, of what there is to say: as `Batch.outcomes` takes them."""


def commit(
    database: Database, statements: Statements, transactions: Sequence[Transaction]
) -> list[Outcome]:
    """See `Backend.commit`."""
    put = _simple(transactions)
    if put is not None:
        _check_size(database, len(put.value))
        outcome = database.write(partial(_put, statements, put))
        if outcome is not None:
            return [outcome]

    done: dict[int, Outcome] = {}
    puts = _updates(database, transactions)
    if puts:
        done = database.write(partial(_update, statements.names, puts))
        if len(done) == len(transactions):
            return [done[number] for number in range(len(transactions))]

    def apply(batch: Batch) -> dict[int, Outcome]:
        sent = _sent(database, batch)
        rows = database.write(partial(_transact, statements.names, batch)) if sent else []
        return batch.outcomes(rows)

    return by_batches.commit(transactions, apply, done)


def start(
    database: Database, statements: Statements, transactions: Sequence[Transaction]
) -> Pending[by_batches.Answers] | None:
    """See `Backend.start_commit`."""

    def steps(connection: Connection) -> Steps[by_batches.Answers]:
        fill = partial(_begun, database, statements, transactions, connection)
        return by_batches.begun(len(transactions), fill)

    return database.start(steps) if transactions else None


def _begun(
    database: Database,
    statements: Statements,
    transactions: Sequence[Transaction],
    connection: Connection,
    done: dict[int, Outcome],
) -> Steps[None]:
    """Adds outcomes, as `commit` makes them, until something is in the way."""
    put = _simple(transactions)
    if put is not None:
        _check_size(database, len(put.value))
        outcome = yield from begun(connection, _put(statements, put))
        if outcome is not None:
            done[0] = outcome
            return
    puts = _updates(database, transactions)
    if puts:
        done |= yield from begun(connection, _update(statements.names, puts))
    waiting = batches(transactions, done)
    while waiting:
        batch = waiting.pop(0)
        reports: Reports = []
        try:
            if _sent(database, batch):
                reports = yield from begun(connection, _transact(statements.names, batch))
        except InvalidArgument as error:
            raise CallAgain(str(error)) from error  # one of them is at fault
        except OutcomeUnknown as error:
            done |= by_batches.failed(error, batch, waiting)
            return
        done |= batch.outcomes(reports)


def _simple(transactions: Sequence[Transaction]) -> Put | None:
    """A conditional put of what is there, if that is all there is to do."""
    if len(transactions) == 1:
        operations = transactions[0].operations
        put = operations[0] if len(operations) == 1 else None
        if isinstance(put, Put) and put.expected:
            return put
    return None


def _put(statements: Statements, put: Put) -> Talk[Outcome | None]:
    """The outcome of a conditional put of what is there; None where the condition failed.

    Why it failed is then found out, and may have changed, by the general way.
    """
    assert put.expected
    ttl = None if put.ttl is None else duration_micros(put.ttl)
    statement = statements.put(put.key, put.expected, put.value, ttl)
    (result,) = yield Request((statement,), writes=True)
    return Committed({put.key: put.expected + 1}) if result.count else None


def _updates(database: Database, transactions: Sequence[Transaction]) -> dict[int, Put]:
    """By number: the puts over what is there, where most of the transactions are nothing else.

    The others need a transaction of their own in the database, and so a wait for its disk.
    """
    found = updates(transactions, database.max_value_bytes)
    return found if 2 * len(found) >= len(transactions) else {}


def _update(names: Names, puts: Mapping[int, Put]) -> Talk[dict[int, Outcome]]:
    """The outcomes of puts by number."""
    script = Script(names, [BEGIN])
    script.update(puts.values())
    results = yield Request((*script.statements, COMMIT), writes=True)
    found = _versions(script, results)
    written = sum(results[index].count for index in script.updates)
    done: dict[int, Outcome] = {}
    for number, put in puts.items():
        version = found.get(put.key.encode(), 0)
        if version == put.expected:
            done[number] = Committed({put.key: version + 1})
            written -= 1
        else:
            done[number] = Conflict({put.key: version})
    if written:  # what was absent, and was restored before the update
        unsure = OutcomeUnknown(
            "the value was restored meanwhile; read its version before deciding"
        )
        absent = (number for number, put in puts.items() if put.key.encode() not in found)
        done |= dict.fromkeys(absent, Failed(unsure))
    return done


def _versions(script: Script, results: Sequence[Result]) -> dict[bytes, int]:
    """Of the values that a script has locked; 0 where one has expired, or is absent."""
    rows = (row for index in script.values for row in results[index].rows)
    return {key: version if live else 0 for key, version, live in rows}


def _sent(database: Database, batch: Batch) -> bool:
    """Whether there is something to be sent; raises where it is too much."""
    for row in batch.values:
        _check_size(database, len(row[4] or b""))
    for _, _, message in batch.messages:
        _check_size(database, len(message.payload or b""))
    return bool(batch.values or batch.messages or batch.sets)


def _check_size(database: Database, size: int) -> None:
    if size > database.max_value_bytes:
        raise InvalidArgument(
            f"{database.name}: a value of {size} bytes; the server's max_allowed_packet of "
            f"{database.max_packet} holds at most {database.max_value_bytes} (a byte takes two): "
            "nothing was sent"
        )


def _transact(names: Names, batch: Batch) -> Talk[Reports]:
    """Applies a batch.

    Usually in one round trip. Where a condition does not hold it takes a second one, in which the
    transactions without a conflict are written.
    """
    script = Script(names, [BEGIN])
    script.lock(batch)
    script.guard(batch)
    script.write(batch)
    if len(script.statements) == 2:  # one statement is a transaction of its own
        yield Request(script.statements[1:], writes=True)
        return []
    script.statements.append(COMMIT)
    try:
        results = yield Request(script.statements, writes=True, guard=GUARD)
    except Stopped as stopped:
        return (yield from _without_conflicts(script, stopped.results, batch))
    reports = _Found.of(batch, script, results).reports(frozenset())
    return [*reports, *_written(batch, (), script, results)]


def _without_conflicts(script: Script, results: Sequence[Result], batch: Batch) -> Talk[Reports]:
    found = _Found.of(batch, script, results)
    bad = found.bad()
    rest = Script(script.names)
    if not bad.issuperset(batch.numbers):
        rest.write(batch, bad, stopped=True)
    rest.statements.append(COMMIT if rest.statements else ROLLBACK)
    written = yield Request(rest.statements, writes=len(rest.statements) > 1, resume=True)
    return [*found.reports(bad), *_written(batch, bad, rest, written)]


def _written(
    batch: Batch, bad: Container[int], script: Script, results: Sequence[Result]
) -> Iterator[tuple[int, int, int]]:
    items: dict[bytes, int] = {}
    for item, (number, what, key, expected, *_) in enumerate(batch.values, 1):
        if what == PUT and expected:
            if number not in bad:
                yield WRITTEN, item, expected + 1
        else:
            items[key.encode()] = item
    for index in script.versions:
        for key, version in results[index].rows:
            yield WRITTEN, items[key], version


@frozen
class _Found:
    """What the locked rows of a batch were.

    Attributes:
        versions: of each value that has a condition, 0 where it is absent or expired.
        tokens: of each message that is there.
    """

    batch: Batch
    versions: Mapping[bytes, int]
    tokens: Mapping[tuple[bytes, bytes], bytes]

    @classmethod
    def of(cls, batch: Batch, script: Script, results: Sequence[Result]) -> _Found:
        messages = (row for index in script.messages for row in results[index].rows)
        return cls(
            batch,
            _versions(script, results),
            {(queue, id): token for queue, id, attempt, token in messages if attempt >= 0},
        )

    def bad(self) -> frozenset[int]:
        """The transactions of which a condition does not hold."""
        values = (self.batch.values[item - 1][0] for item, _ in self._conflicting())
        messages = (self.batch.messages[item - 1][0] for item in self._lost())
        return frozenset((*values, *messages))

    def reports(self, bad: frozenset[int]) -> Iterator[tuple[int, int, int]]:
        """What there is to say of conditions, and of what was there."""
        for item, version in self._conflicting():
            yield CONFLICTING, item, version
        for item in self._lost():
            yield LOST, item, 0
        for item, row in enumerate(self.batch.values, 1):
            if row[1] == DELETE and row[0] not in bad and self.versions.get(row[2].encode()):
                yield DELETED, item, 0
        for item, (number, name, message) in enumerate(self.batch.messages, 1):
            if message.ask and number not in bad and _encoded(name) in self.tokens:
                yield CANCELLED, item, 0

    def _conflicting(self) -> Iterator[tuple[int, int]]:
        for item, row in enumerate(self.batch.values, 1):
            version = self.versions.get(row[2].encode(), 0)
            if row[3] is not None and row[3] != version:
                yield item, version

    def _lost(self) -> Iterator[int]:
        for item, (_, name, message) in enumerate(self.batch.messages, 1):
            if message.token is not None:
                found = self.tokens.get(_encoded(name))
                if found is None or found != message.token.encode():
                    yield item


def _encoded(name: tuple[str, str]) -> tuple[bytes, bytes]:
    return name[0].encode(), name[1].encode()
