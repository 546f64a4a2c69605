"""Transactions as statements: first locks, then conditions, then what is written.

Locks are taken in an order that all agree on: values, messages, version floors, members; each by
their keys. An absent row is locked by inserting an empty one, so it stays absent to everybody
until the end. Under READ COMMITTED there are no gap locks, and each statement sees what was
committed before it began, also where the one before it waited.

A condition that does not hold makes its statement fail, and the server stops there: the
transaction is then open, its rows are locked, and what was read of them decides what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import define, field
from statekeep.clock import MAX_MICROS
from statekeep.model import Put
from statekeep.sql.batch import (
    DELETE,
    DROP,
    EXTEND,
    PUT,
    RELEASE,
    RESTORE,
    WRITE,
    WRITE_LATER,
    Batch,
    Message,
)

from statekeep_mysql.literals import (
    LIVE,
    LIVE_THEN,
    NOW,
    among,
    data,
    later,
    lists,
    one_of,
    pieces,
    text,
)
from statekeep_mysql.names import MEMBER, MESSAGE, VALUE, Names

NEVER = MAX_MICROS + 1
"""When a row that was inserted only to be locked can be claimed."""

SHARD = "CRC32(`key`)&65535"
"""The row of the floor table for a key: 65536 of them, so that two deletions hardly ever wait for
each other, and the table stays within a few megabytes for ever."""

ROOM = 64
"""Characters that a row of a statement takes, beside what is written."""

Row = tuple[Any, ...]
Named = tuple[int, tuple[str, str], Message]


@define
class Script:
    """Statements, and which of them answer what.

    Attributes:
        statements: in the order in which the server runs them.
        values: where `(key, version, whether it is live)` of locked values are answered.
        messages: where `(queue, id, attempt, token)` of locked messages are.
        versions: where `(key, version)` of written values are, but for those whose condition says
            it: one more than the expected version.
        updates: where it is answered how many values `update` has written.
    """

    names: Names
    statements: list[str] = field(factory=list)
    values: list[int] = field(factory=list)
    messages: list[int] = field(factory=list)
    versions: list[int] = field(factory=list)
    updates: list[int] = field(factory=list)

    def lock(self, batch: Batch) -> None:
        """Locks and reads what the batch has conditions on."""
        asks = any(message.token is not None or message.ask for _, _, message in batch.messages)
        plain = all(row[1] == PUT and row[3] is None for row in batch.values)
        if batch.values and (asks or not plain):  # before messages, also where it is only that
            self._lock_values(sorted(batch.values, key=lambda row: row[2]))
        if asks:
            self._lock_messages(sorted(batch.messages, key=lambda named: named[1]))

    def _lock_values(self, rows: Sequence[Row]) -> None:
        table, keys = self.names.key_value_table, [text(row[2]) for row in rows]
        for some in lists(f"({key},0,NULL,'')" for key in keys):
            self.statements.append(
                f"INSERT INTO {table} (`key`,version,expires,value) VALUES {some} "  # noqa: S608
                "ON DUPLICATE KEY UPDATE version=version"
            )
        for some in lists(keys):
            self.values.append(len(self.statements))
            self.statements.append(
                f"SELECT `key`,version,{LIVE} FROM {table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE `key` IN ({some}) ORDER BY `key`"
            )

    def _lock_messages(self, named: Sequence[Named]) -> None:
        table = self.names.deferred_table
        locking = " FOR UPDATE"
        if any(message.token is None for _, _, message in named):
            locking = ""
            empty = (f"({','.join(_name(name))},0,{NEVER},-1,'','')" for _, name, _ in named)
            for some in lists(empty):
                self.statements.append(
                    f"INSERT INTO {table} (queue,id,due,visible,attempt,token,payload) "  # noqa: S608
                    f"VALUES {some} ON DUPLICATE KEY UPDATE attempt=attempt"
                )
        for these, _ in among(MESSAGE, (_name(name) for _, name, _ in named)):
            self.messages.append(len(self.statements))
            self.statements.append(
                f"SELECT queue,id,attempt,token FROM {table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE {these} ORDER BY queue,id{locking}"
            )

    def guard(self, batch: Batch) -> None:
        """Stops here unless every condition holds."""
        n = self.names
        absent = [text(row[2]) for row in batch.values if row[3] == 0]
        for some in lists(absent):
            self._stop_if(
                f"EXISTS(SELECT 1 FROM {n.key_value_table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE `key` IN ({some}) AND version>0 AND {LIVE})"
            )
        present = ((text(row[2]), str(row[3])) for row in batch.values if row[3])
        for these, count in among((*VALUE, "version"), present):
            self._stop_if(
                f"(SELECT COUNT(*) FROM {n.key_value_table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE {these} AND {LIVE})<{count}"
            )
        held = (
            (*_name(name), text(message.token))
            for _, name, message in batch.messages
            if message.token is not None
        )
        for these, count in among((*MESSAGE, "token"), held):
            self._stop_if(
                f"(SELECT COUNT(*) FROM {n.deferred_table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE {these} AND attempt>=0)<{count}"
            )

    def _stop_if(self, condition: str) -> None:
        self.statements.append(
            f"SET @held=(SELECT 1 UNION ALL SELECT 1 FROM DUAL WHERE {condition})"  # noqa: S608
        )

    def write(
        self, batch: Batch, bad: frozenset[int] = frozenset(), *, stopped: bool = False
    ) -> None:
        """Writes what the batch holds, but for the transactions that are bad.

        Args:
            batch: what was locked before.
            bad: of which a condition does not hold.
            stopped: whether another script took the locks, and a guard stopped it.
        """
        rows = sorted((r for r in batch.values if r[0] not in bad), key=lambda row: row[2])
        named = sorted((m for m in batch.messages if m[0] not in bad), key=lambda each: each[1])
        empty = [(text(r[2]),) for r in batch.values if r[0] in bad or r[1] not in (PUT, RESTORE)]
        self._restore([row for row in rows if row[1] == RESTORE])
        self._put([row for row in rows if row[1] == PUT])
        self._delete([(text(row[2]),) for row in rows if row[1] == DELETE])
        if self.values or stopped:
            self._clear(self.names.key_value_table, VALUE, empty, " AND version=0")
        self._write_messages(named)
        if bad:
            names = (_name(name) for number, name, _ in batch.messages if number in bad)
            self._clear(self.names.deferred_table, MESSAGE, names, " AND attempt=-1")
        self._write_members(sorted((s for s in batch.sets if s[0] not in bad), key=lambda s: s[1:]))

    def _put(self, rows: Sequence[Row]) -> None:
        table = self.names.key_value_table
        known, others = [row for row in rows if row[3]], [row for row in rows if not row[3]]
        # Assignments count from left to right: `expires` is the old one in the first.
        self._insert(known, "version+1")  # at the instant of the condition, whatever expired since
        self._insert(others, f"IF(version=0,0,IF({LIVE},version+1,GREATEST({NOW},version+1)))")
        floor = (
            f"(SELECT f.version FROM {self.names.floor_table} AS f "  # noqa: S608
            f"WHERE f.shard={SHARD.replace('`key`', f'{table}.`key`')})"
        )
        for some in lists(text(row[2]) for row in others):
            self.statements.append(
                f"UPDATE {table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"SET version=GREATEST({NOW},1+COALESCE({floor},0)) "
                f"WHERE `key` IN ({some}) AND version=0"
            )
            self.versions.append(len(self.statements))
            self.statements.append(
                f"SELECT `key`,version FROM {table} FORCE INDEX (PRIMARY) WHERE `key` IN ({some})"  # noqa: S608
            )

    def _insert(self, rows: Sequence[Row], version: str) -> None:
        new = (
            f"({text(key)},0,{'NULL' if until is None else later(until)},{data(value)})"
            for _, _, key, _, value, until, _ in rows
        )
        for some in lists(new):
            self.statements.append(
                f"INSERT INTO {self.names.key_value_table} (`key`,version,expires,value) "  # noqa: S608
                f"VALUES {some} ON DUPLICATE KEY UPDATE version={version},"
                "expires=VALUES(expires),value=VALUES(value)"
            )

    def update(self, puts: Iterable[Put]) -> None:
        """Puts values over others, where these are of the expected versions.

        For puts without a time to live. What was there is answered, and locked: so where the
        version was the expected one, the value was written. Nothing locks what was absent.
        """
        table = self.names.key_value_table
        self.statements.append(f"SET @now={NOW}")
        named = sorted(((text(put.key), put) for put in puts), key=lambda pair: pair[0])
        for some in pieces(named, lambda pair: 3 * len(pair[0]) + 2 * len(pair[1].value) + ROOM):
            keys = ",".join(key for key, _ in some)
            values = " ".join(f"WHEN {key} THEN {data(put.value)}" for key, put in some)
            these = one_of((*VALUE, "version"), [(key, str(put.expected)) for key, put in some])
            self.values.append(len(self.statements))
            self.updates.append(len(self.statements) + 1)
            self.statements += (
                f"SELECT `key`,version,{LIVE_THEN} FROM {table} FORCE INDEX (PRIMARY) "  # noqa: S608
                f"WHERE `key` IN ({keys}) ORDER BY `key` FOR UPDATE",
                f"UPDATE {table} FORCE INDEX (PRIMARY) SET version=version+1,expires=NULL,"  # noqa: S608
                f"value=CASE `key` {values} END WHERE {these} AND {LIVE_THEN}",
            )

    def _restore(self, rows: Sequence[Row]) -> None:
        lower = (f"(`key`={text(row[2])} AND version>{row[6]})" for row in rows)
        for some in lists(lower):
            self._raise_floor(some.replace("),(", ") OR ("))
        new = (
            f"({text(key)},{version},{'NULL' if until is None else until},{data(value)})"
            for _, _, key, _, value, until, version in rows
        )
        for some in lists(new):
            self.statements.append(
                f"INSERT INTO {self.names.key_value_table} (`key`,version,expires,value) "  # noqa: S608
                f"VALUES {some} ON DUPLICATE KEY UPDATE version=VALUES(version),"
                "expires=VALUES(expires),value=VALUES(value)"
            )
        for some in lists(text(row[2]) for row in rows):
            self.versions.append(len(self.statements))
            self.statements.append(
                f"SELECT `key`,version FROM {self.names.key_value_table} "  # noqa: S608
                f"FORCE INDEX (PRIMARY) WHERE `key` IN ({some})"
            )

    def _delete(self, keys: Sequence[tuple[str]]) -> None:
        for these, _ in among(VALUE, keys):
            self._raise_floor(these)
        self._clear(self.names.key_value_table, VALUE, keys)

    def _raise_floor(self, condition: str) -> None:
        """Versions that go are never given out again, not even where the clock is set back."""
        self.statements.append(
            f"INSERT INTO {self.names.floor_table} (shard,version) SELECT s,v FROM "  # noqa: S608
            f"(SELECT {SHARD} AS s,MAX(version) AS v FROM {self.names.key_value_table} "
            f"FORCE INDEX (PRIMARY) WHERE version>0 AND ({condition}) GROUP BY s) AS d ORDER BY s "
            f"ON DUPLICATE KEY UPDATE version=GREATEST({self.names.floor_table}.version,"
            "VALUES(version))"
        )

    def _write_messages(self, named: Sequence[Named]) -> None:
        table = self.names.deferred_table
        new = (
            f"({','.join(_name(name))},{_times(message)},{message.attempt},{text(message.holder)},"
            f"{data(message.payload or b'')})"
            for _, name, message in named
            if message.what in (WRITE, WRITE_LATER)
        )
        for some in lists(new):
            self.statements.append(
                f"INSERT INTO {table} (queue,id,due,visible,attempt,token,payload) VALUES {some} "  # noqa: S608
                "ON DUPLICATE KEY UPDATE due=VALUES(due),visible=VALUES(visible),"
                "attempt=VALUES(attempt),token=VALUES(token),payload=VALUES(payload)"
            )
        delayed: dict[tuple[int, int], list[tuple[str, str]]] = {}
        for _, name, message in named:
            if message.what in (RELEASE, EXTEND):
                assert message.due is not None
                delayed.setdefault((message.what, message.due), []).append(_name(name))
        for (what, delay), names in delayed.items():
            token = ",token=''" if what == RELEASE else ""
            for these, _ in among(MESSAGE, names):
                self.statements.append(
                    f"UPDATE {table} FORCE INDEX (PRIMARY) SET visible={later(delay)}{token} "  # noqa: S608
                    f"WHERE {these}"
                )
        dropped = (_name(name) for _, name, message in named if message.what == DROP)
        self._clear(table, MESSAGE, dropped)

    def _write_members(self, rows: Sequence[Row]) -> None:
        table = self.names.key_set_table
        alone = len(rows) == 1 and not rows[0][3]
        # Inserting or locking each, also what goes, keeps a removal and an addition by others
        # apart: not a member of one and another of the other.
        named = [(text(key), data(member), stays) for _, key, member, stays in rows]
        for some in lists(f"({key},{member})" for key, member, _ in named if not alone):
            self.statements.append(
                f"INSERT INTO {table} (`key`,member) VALUES {some} "  # noqa: S608
                "ON DUPLICATE KEY UPDATE member=member"
            )
        self._clear(table, MEMBER, ((key, member) for key, member, stays in named if not stays))

    def _clear(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        condition: str = "",
    ) -> None:
        """Deletes rows.

        The order and the limit, which is never reached, make the server go by the key also where
        it would rather read a small table as a whole, and wait for rows that others hold.
        """
        for these, count in among(columns, rows):
            self.statements.append(
                f"DELETE FROM {table} WHERE {these}{condition} "  # noqa: S608
                f"ORDER BY {','.join(columns)} LIMIT {count}"
            )


def _name(name: tuple[str, str]) -> tuple[str, str]:
    return text(name[0]), text(name[1])


def _times(message: Message) -> str:
    assert message.due is not None
    if message.what == WRITE_LATER:
        return f"{later(message.due)},{later(message.due)}"
    return f"{message.due},{message.visible}"
