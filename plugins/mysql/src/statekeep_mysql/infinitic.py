"""Reads the tables that Infinitic made: in `utf8`, whose collation takes `Key` and `key` for one.

The index is asked in the column's own collation, and what it finds is compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, frozen
from statekeep.backend import LARGE_VALUE_BYTES, BackendStats, Capabilities, Target
from statekeep.sql.counting import backend_stats
from statekeep.sql.infinitic import VERSION, InfiniticTables, id_of, position_of
from statekeep.usage import Usage

from statekeep_mysql import creation
from statekeep_mysql.config import InfiniticMysqlConfig
from statekeep_mysql.database import Database
from statekeep_mysql.literals import data, lists, quoted, text
from statekeep_mysql.names import quote
from statekeep_mysql.reading import Rows
from statekeep_mysql.scans import PAGE_BYTES, RECORDS, cut

CAPABILITIES = Capabilities(
    durable=True, shared=True, max_value_bytes=LARGE_VALUE_BYTES, expiry=False, read_only=True
)

SIZE = "value_size_in_kib"
"""A column that Infinitic has had the server fill in since it keeps sizes, in lower case."""

MEMBER = "CAST(`value` AS BINARY)"

# A set is listed by the first of its rows: the one before which there is none of its key.
SETS = """
SELECT s.id,{s_key} FROM {table} AS s FORCE INDEX (PRIMARY) WHERE s.id>{behind}{prefix}
    AND NOT EXISTS (SELECT 1 FROM {table} AS e
        WHERE e.`key`=s.`key` AND e.id<s.id AND {e_key}={s_key})
ORDER BY s.id LIMIT {limit}
"""

# S608 below: what is put into SQL are quoted names, numbers, hexadecimal bytes and constants.


@frozen
class Key:
    """A column of keys: in a character set and collation, or of bytes (both None)."""

    charset: str | None
    collation: str | None

    def literal(self, key: str) -> str:
        """A key as the column's index wants it."""
        if self.charset is None:
            return text(key)
        return f"CONVERT(_utf8mb4 {text(key)} USING {self.charset}) COLLATE {self.collation}"

    def of(self, row: str = "") -> str:
        """The bytes of UTF-8 of a row's key."""
        name = f"{row}`key`"
        return name if self.charset is None else f"CAST(CONVERT({name} USING utf8mb4) AS BINARY)"

    def is_(self, key: str) -> str:
        """That a row's key is this one, by the index and byte by byte."""
        return f"`key`={self.literal(key)} AND {self.of()}={text(key)}"

    def begins(self, prefix: str, row: str = "") -> str:
        """That a row's key begins with a prefix, as one more condition."""
        size = len(prefix.encode())
        return f" AND SUBSTRING({self.of(row)},1,{size})={text(prefix)}" if prefix else ""


@frozen
class Reads:
    """SQL for one pair of tables.

    Attributes:
        values: the table of values, quoted, and its keys.
        sets: the table of sets, quoted, and its keys.
        version: the column of versions, or what stands for it.
        size: how many bytes a value has, at most.
    """

    values: str
    value_key: Key
    sets: str
    set_key: Key
    version: str
    size: str

    def get_many(self, keys: Sequence[str]) -> list[str]:
        """The rows of these keys, and of those that the collation takes for the same."""
        return [
            f"SELECT {self.value_key.of()},{self.version},`value` FROM {self.values} "  # noqa: S608
            f"WHERE `key` IN ({some})"
            for some in lists(map(self.value_key.literal, keys))
        ]

    def page(self, prefix: str, behind: int, limit: int) -> str:
        """Values behind an id, by id."""
        return RECORDS.format(
            columns=f"id,{self.value_key.of()},{self.version},`value`",
            order="id",
            size=self.size,
            table=self.values,
            range=f"id>{behind}{self.value_key.begins(prefix)}",
            limit=limit,
            bytes=PAGE_BYTES,
        )

    def members_many(self, keys: Sequence[str]) -> list[str]:
        """The rows of these sets, and of those that the collation takes for the same."""
        return [
            f"SELECT {self.set_key.of()},{MEMBER} FROM {self.sets} WHERE `key` IN ({some})"  # noqa: S608
            for some in lists(map(self.set_key.literal, keys))
        ]

    def members(self, key: str, behind: int, limit: int) -> str:
        """Rows of a set behind an id, by id."""
        return (
            f"SELECT id,{MEMBER} FROM {self.sets} WHERE {self.set_key.is_(key)} "  # noqa: S608
            f"AND id>{behind} ORDER BY id LIMIT {limit}"
        )

    def contains(self, key: str, members: Sequence[bytes]) -> list[str]:
        """Those of the members that are in the set."""
        return [
            f"SELECT {MEMBER} FROM {self.sets} "  # noqa: S608
            f"WHERE {self.set_key.is_(key)} AND {MEMBER} IN ({some})"
            for some in lists(map(data, members))
        ]

    def sets_page(self, prefix: str, behind: int, limit: int) -> str:
        """The first rows of sets, behind an id."""
        key = self.set_key
        return SETS.format(
            table=self.sets,
            s_key=key.of("s."),
            e_key=key.of("e."),
            behind=behind,
            prefix=key.begins(prefix, "s."),
            limit=limit,
        )

    def stats(self, tables: Iterable[str]) -> tuple[str, ...]:
        """How much there is of each kind, and in all."""
        return (
            f"SELECT COUNT(*),COALESCE(SUM(LENGTH(`value`)),0) FROM {self.values}",  # noqa: S608
            f"SELECT COUNT(DISTINCT {self.set_key.of()}),COALESCE(SUM(LENGTH(`value`)),0) "  # noqa: S608
            f"FROM {self.sets}",
            "SELECT SUM(DATA_LENGTH+INDEX_LENGTH) FROM information_schema.TABLES "  # noqa: S608
            f"WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME IN ({','.join(map(quoted, tables))})",
        )


class InfiniticMysql(InfiniticTables):
    """What Infinitic keeps in a database of a MySQL or MariaDB server."""

    def __init__(self, config: InfiniticMysqlConfig) -> None:
        self._config = config
        self._tables_named = (config.key_value_table, config.key_set_table)
        self._database = Database(config)
        self._reads: Reads | None = None
        self._capabilities = evolve(CAPABILITIES, max_connections=config.maximum_pool_size)
        super().__init__(self._database.name, self._tables_named, config.undecodable)

    @property
    def capabilities(self) -> Capabilities:
        """Reading, of one instant."""
        return self._capabilities

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        return Target("mysql", self._config.host, self._config.port, self._config.database)

    def columns(self) -> Mapping[str, frozenset[str]] | None:
        """See `InfiniticTables.columns`."""
        with self._database.connection_unless(creation.is_missing) as connection:
            if connection is None:
                return None
        found = {table: frozenset(self._columns(table)) for table in self._tables_named}
        return {table: columns for table, columns in found.items() if columns}

    def _columns(self, table: str) -> dict[str, Key]:
        rows = self._database.query(
            "SELECT LOWER(COLUMN_NAME),CHARACTER_SET_NAME,COLLATION_NAME "  # noqa: S608
            "FROM information_schema.COLUMNS "
            f"WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={quoted(table)}"
        )
        return {name: Key(charset, collation) for name, charset, collation in rows}

    def prepare(self, columns: frozenset[str]) -> None:
        """See `InfiniticTables.prepare`."""
        values, sets = self._tables_named
        self._reads = Reads(
            values=quote(values),
            value_key=self._columns(values)["key"],
            sets=quote(sets),
            set_key=self._columns(sets)["key"],
            version="version" if VERSION in columns else "1",
            size=f"({SIZE}+1)*1024" if SIZE in columns else "LENGTH(`value`)",
        )
        self.value_rows(("",))
        self.member_rows(("",))

    @property
    def reads(self) -> Reads:
        """The SQL for the tables as they are; looks at them first where `setup()` did not."""
        if self._reads is None:
            self.setup()
        assert self._reads is not None
        return self._reads

    def value_rows(self, keys: Sequence[str]) -> Rows:
        """See `InfiniticTables.value_rows`."""
        return _only(keys, self._database.rows(self.reads.get_many(keys)))

    def value_page(self, prefix: str, behind: int, limit: int) -> tuple[Rows, bool]:
        """See `InfiniticTables.value_page`."""
        found = self._database.query(self.reads.page(prefix, behind, limit + 1))
        rows, more = cut(found, limit)
        return [row[:-1] for row in rows], more

    def member_rows(self, keys: Sequence[str]) -> Rows:
        """See `InfiniticTables.member_rows`."""
        return _only(keys, self._database.rows(self.reads.members_many(keys)))

    def member_page(self, key: str, behind: bytes | None, limit: int) -> Rows:
        """See `InfiniticTables.member_page`: by id, as a set may hold a member twice."""
        rows = self._database.query(self.reads.members(key, id_of(behind), limit))
        return [(position_of(id), member) for id, member in rows]

    def found_members(self, key: str, members: Sequence[bytes]) -> Iterable[bytes]:
        """See `InfiniticTables.found_members`."""
        return [member for (member,) in self._database.rows(self.reads.contains(key, members))]

    def set_page(self, prefix: str, behind: bytes | None, limit: int) -> Rows:
        """See `InfiniticTables.set_page`: by the id of the first row of each."""
        rows = self._database.query(self.reads.sets_page(prefix, id_of(behind), limit))
        return [(position_of(id), key) for id, key in rows]

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._database.query("SELECT 1")

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._database.pool.counters())

    def stats(self) -> BackendStats:
        """See `Backend.stats`; bytes as they are stored, compressed or not."""
        with self._database.patient() as connection:
            results = connection.run(self.reads.stats(self._tables_named))
        *counted, total = (result.rows[0] for result in results)
        sizes = (*((int(records), int(size)) for records, size in counted), (0, 0))
        stored = None if total[0] is None else int(total[0])
        return backend_stats(self._database.pool.counters(), sizes, stored)

    def close(self) -> None:
        """See `Backend.close`."""
        self._database.close()


def _only(keys: Sequence[str], rows: Rows) -> Rows:
    """The rows whose key is one of these byte by byte, with their keys as texts."""
    wanted = {key.encode(): key for key in keys}
    return [(wanted[key], *row) for key, *row in rows if key in wanted]
