"""The tables that Infinitic makes, as a backend that only reads; a plugin adds its SQL.

Both tables have a column `id` that grows, `key` and `value`; a set has a row for each member, and
may have the same one twice. Pages go by the id wherever the order of keys is not bytes' order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from statekeep import cursors
from statekeep.errors import ConfigError, InvalidArgument
from statekeep.foreign import ForeignSource, key_of, members_of
from statekeep.infinitic import Values
from statekeep.model import Entry, KeySetRecord, Page, Record, RecordKind

COLUMNS = frozenset({"id", "key", "value"})
"""What both tables have had in every version of Infinitic."""

VERSION = "version"
"""A column of the table of values of newer versions; without it every version is 1."""

POSITION_BYTES = 8
"""Of an id in a cursor."""

Rows = Sequence[tuple[Any, ...]]


class InfiniticTables(ForeignSource):
    """What Infinitic keeps in a table of values and a table of sets.

    Args:
        where: server and database, for messages.
        tables: the names of the table of values and of that of sets.
        undecodable: see `statekeep.infinitic.undecodable_option`.
    """

    def __init__(self, where: str, tables: tuple[str, str], undecodable: str) -> None:
        self._where = where
        self._tables = tables
        self._values = Values(where, undecodable)

    @property
    def where(self) -> str:
        """Server and database."""
        return self._where

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        wanted = frozenset(keys)
        return {
            key: self._values.entry(key, version, stored)
            for key, version, stored in (self.value_rows(keys) if keys else ())
            if key in wanted  # the database may take two keys for one, which they are not here
        }

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        found: dict[str, list[bytes]] = {key: [] for key in keys}
        for key, member in self.member_rows(keys) if keys else ():
            if key in found:
                found[key].append(member)
        return {key: frozenset(members_of(self._where, key, found[key])) for key in found}

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        scope = f"members {key}"
        rows = self.member_page(key, cursors.decode(scope, cursor), limit + 1)
        found = members_of(self._where, key, [member for _, member in rows[:limit]])
        more = len(rows) > limit
        return Page(found, cursors.encode(scope, rows[limit - 1][0]) if more else None)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        return frozenset(self.found_members(key, members)) if members else frozenset()

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        if kind is RecordKind.DEFERRED:
            return self.no_messages(prefix, cursor)
        scope = f"{kind.value} {prefix}"
        position = cursors.decode(scope, cursor)
        records: list[Record] = []
        if kind is RecordKind.KEY_SET:
            rows = self.set_page(prefix, position, limit + 1)
            more, rows = len(rows) > limit, rows[:limit]
            records += (KeySetRecord(key_of(self._where, "set", name)) for _, name in rows)
            return Page(records, cursors.encode(scope, rows[-1][0]) if more else None)
        rows, more = self.value_page(prefix, id_of(position), limit)
        records += (self._values.record(*row) for _, *row in rows)
        return Page(records, cursors.encode(scope, position_of(rows[-1][0])) if more else None)

    def missing(self) -> Sequence[str]:
        """The database or tables that are not there; Infinitic makes them, this never does."""
        return self._absent(self.columns())

    def setup(self) -> None:
        """Creates nothing: looks whether the tables are there, are Infinitic's, can be read.

        Raises:
            ConfigError: one is missing, or another program's.
            AccessDenied: the user may not read them.
        """
        columns = self.columns()
        absent = self._absent(columns)
        if columns is None or absent:
            raise ConfigError(
                f"{self._where} lacks {', '.join(absent)}, or the user may not look at it: check "
                "database, schema, key_value_table and key_set_table; what Infinitic did not make "
                "is not created here"
            )
        for table in self._tables:
            if not columns[table] >= COLUMNS:
                raise ConfigError(
                    f"{self._where}: the table {table!r} is not Infinitic's: it has the columns "
                    f"{', '.join(sorted(columns[table]))}, and not {', '.join(sorted(COLUMNS))}. "
                    "Read tables of statekeep's own without `infinitic+` in the URL"
                )
        self.prepare(columns[self._tables[0]])

    def _absent(self, columns: Mapping[str, frozenset[str]] | None) -> tuple[str, ...]:
        if columns is None:
            return ("the database",)
        return tuple(f"table {table}" for table in self._tables if table not in columns)

    @abstractmethod
    def columns(self) -> Mapping[str, frozenset[str]] | None:
        """The columns of those of the tables that are there; None without a database."""

    @abstractmethod
    def prepare(self, columns: frozenset[str]) -> None:
        """Makes ready to read a table of values with these columns, and tries to read both."""

    @abstractmethod
    def value_rows(self, keys: Sequence[str]) -> Rows:
        """Key, version and value of these keys, and perhaps of others."""

    @abstractmethod
    def value_page(self, prefix: str, behind: int, limit: int) -> tuple[Rows, bool]:
        """Id, key, version and value behind an id, by id; and whether others follow."""

    @abstractmethod
    def member_rows(self, keys: Sequence[str]) -> Rows:
        """Key and member of these sets, and perhaps of others."""

    @abstractmethod
    def member_page(self, key: str, behind: bytes | None, limit: int) -> Rows:
        """Positions and members of a set, in the order of their positions."""

    @abstractmethod
    def found_members(self, key: str, members: Sequence[bytes]) -> Iterable[bytes]:
        """Those of the members that the set has."""

    @abstractmethod
    def set_page(self, prefix: str, behind: bytes | None, limit: int) -> Rows:
        """Positions and keys of sets, each key once, in the order of their positions."""


def position_of(id: int) -> bytes:
    """An id as a position in a cursor."""
    return id.to_bytes(POSITION_BYTES, "big")


def id_of(position: bytes | None) -> int:
    """The id in a cursor; one before all others at the start."""
    if position is None:
        return -1
    if len(position) != POSITION_BYTES:
        raise InvalidArgument("this cursor is not one of this scan")
    return int.from_bytes(position, "big")
