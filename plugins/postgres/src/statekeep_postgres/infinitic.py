"""Reads the tables that Infinitic made, in whatever collation the database has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen
from statekeep.backend import LARGE_VALUE_BYTES, BackendStats, Capabilities, Target
from statekeep.sql.counting import backend_stats
from statekeep.sql.infinitic import VERSION, InfiniticTables
from statekeep.usage import Usage

from statekeep_postgres import creation
from statekeep_postgres.config import InfiniticPostgresConfig
from statekeep_postgres.database import Database
from statekeep_postgres.driver import PING
from statekeep_postgres.names import literal, quote
from statekeep_postgres.reading import Rows
from statekeep_postgres.scans import RECORDS, cut
from statekeep_postgres.statements import PAGE_BYTES
from statekeep_postgres.wire import Statement

CAPABILITIES = Capabilities(
    durable=True, shared=True, max_value_bytes=LARGE_VALUE_BYTES, expiry=False, read_only=True
)

FOUND = Statement(
    """
    SELECT c.relname::text, a.attname::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind IN ('r', 'p', 'v', 'm')
    """,
    ("text", "text[]"),
    ("text", "text"),
)

# A tag's rows lie together in the index: jump from one key to the next. In the order of the
# database's collation, whichever it is: that is the order of the index.
SETS = """
    WITH RECURSIVE names (key) AS (
        (SELECT key::text FROM {table} WHERE key {comparison} $1 ORDER BY key LIMIT 1)
        UNION ALL
        SELECT (SELECT s.key::text FROM {table} s WHERE s.key > names.key ORDER BY s.key LIMIT 1)
        FROM names WHERE names.key IS NOT NULL
    )
    SELECT key FROM names WHERE key IS NOT NULL AND starts_with(key, $2) LIMIT $3
"""
STATS = """
    SELECT v.n, v.b, s.n, s.b, {sizes} FROM
        (SELECT count(*) n, coalesce(sum(octet_length(value)), 0)::bigint b FROM {values}) v,
        (SELECT count(DISTINCT key) n, coalesce(sum(octet_length(value)), 0)::bigint b
            FROM {sets}) s
"""

FROM, BEHIND = ">=", ">"
"""How a page begins: the first one at its start, the others behind the one before."""

# S608 below: what is put into SQL are quoted names and constants of this package.


@frozen(eq=False)
class Reads:
    """The statements for one pair of tables.

    Attributes:
        values: the table of values, quoted.
        sets: the table of sets, quoted.
        version: the column of versions, or what stands for it.
    """

    values: str
    sets: str
    version: str
    get_many: Statement = field(init=False)
    page: Statement = field(init=False)
    page_with: Statement = field(init=False)
    members: Statement = field(init=False)
    contains: Statement = field(init=False)
    members_page: Mapping[str, Statement] = field(init=False)
    sets_page: Mapping[str, Statement] = field(init=False)
    stats: Statement = field(init=False)

    @get_many.default
    def _get_many(self) -> Statement:
        return Statement(
            f"SELECT key, {self.version}, value FROM {self.values} WHERE key = ANY ($1)",  # noqa: S608
            ("text[]",),
            ("text", "int8", "bytea"),
        )

    @page.default
    def _page(self) -> Statement:
        return self._by_id("id > $1", ("int8",))

    @page_with.default
    def _page_with(self) -> Statement:
        return self._by_id("id > $1 AND starts_with(key, $2)", ("int8", "text"))

    def _by_id(self, range: str, takes: tuple[str, ...]) -> Statement:
        sql = RECORDS.format(
            columns="id, key, version, value",
            content="value",
            table=f"(SELECT id, key, {self.version} AS version, value FROM {self.values}) AS kept",  # noqa: S608
            range=range,
            order="id",
            limit=f"${len(takes) + 1}",
            bytes=PAGE_BYTES,
        )
        return Statement(sql, (*takes, "int8"), ("int8", "text", "int8", "bytea", "int8"))

    @members.default
    def _members(self) -> Statement:
        return Statement(
            f"SELECT key, value FROM {self.sets} WHERE key = ANY ($1)",  # noqa: S608
            ("text[]",),
            ("text", "bytea"),
        )

    @contains.default
    def _contains(self) -> Statement:
        return Statement(
            f"SELECT value FROM {self.sets} WHERE key = $1 AND value = ANY ($2)",  # noqa: S608
            ("text", "bytea[]"),
            ("bytea",),
        )

    @stats.default
    def _stats(self) -> Statement:
        tables = (self.values, self.sets)
        sizes = " + ".join(f"pg_total_relation_size({literal(each)}::regclass)" for each in tables)
        sql = STATS.format(values=self.values, sets=self.sets, sizes=sizes)
        return Statement(sql, (), ("int8",) * 5)

    @members_page.default
    def _members_page(self) -> Mapping[str, Statement]:
        return {
            comparison: Statement(
                f"SELECT DISTINCT value FROM {self.sets} "  # noqa: S608
                f"WHERE key = $1 AND value {comparison} $2 ORDER BY value LIMIT $3",
                ("text", "bytea", "int8"),
                ("bytea",),
            )
            for comparison in (FROM, BEHIND)
        }

    @sets_page.default
    def _sets_page(self) -> Mapping[str, Statement]:
        return {
            comparison: Statement(
                SETS.format(table=self.sets, comparison=comparison),
                ("text", "text", "int8"),
                ("text",),
            )
            for comparison in (FROM, BEHIND)
        }


class InfiniticPostgres(InfiniticTables):
    """What Infinitic keeps in a schema of a PostgreSQL database."""

    def __init__(self, config: InfiniticPostgresConfig) -> None:
        self._config = config
        self._database = Database(config)
        self._reads = self._for_columns(frozenset({VERSION}))
        self._capabilities = evolve(CAPABILITIES, max_connections=config.maximum_pool_size)
        super().__init__(
            f"{self._database.name}, schema {config.schema!r}",
            (config.key_value_table, config.key_set_table),
            config.undecodable,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Reading, of one instant."""
        return self._capabilities

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        config = self._config
        return Target("postgresql", config.host, config.port, f"{config.database}|{config.schema}")

    def columns(self) -> Mapping[str, frozenset[str]] | None:
        """See `InfiniticTables.columns`."""
        config = self._config
        tables = (config.key_value_table, config.key_set_table)
        with self._database.connection_unless(creation.is_missing) as connection:
            if connection is None:
                return None
            rows = connection.run(FOUND, config.schema, tables)
        names = {table for table, _ in rows}
        return {
            name: frozenset(column for table, column in rows if table == name) for name in names
        }

    def prepare(self, columns: frozenset[str]) -> None:
        """See `InfiniticTables.prepare`."""
        self._reads = self._for_columns(columns)
        self.value_rows(("",))
        self.member_rows(("",))

    def _for_columns(self, columns: frozenset[str]) -> Reads:
        config = self._config
        values, sets = (
            f"{quote(config.schema)}.{quote(table)}"
            for table in (config.key_value_table, config.key_set_table)
        )
        return Reads(values, sets, VERSION if VERSION in columns else "1::int8")

    def value_rows(self, keys: Sequence[str]) -> Rows:
        """See `InfiniticTables.value_rows`."""
        return self._database.read(self._reads.get_many, keys)

    def value_page(self, prefix: str, behind: int, limit: int) -> tuple[Rows, bool]:
        """See `InfiniticTables.value_page`."""
        if prefix:
            found = self._database.read(self._reads.page_with, behind, prefix, limit + 1)
        else:
            found = self._database.read(self._reads.page, behind, limit + 1)
        rows, more = cut(found, limit)
        return [row[:-1] for row in rows], more

    def member_rows(self, keys: Sequence[str]) -> Rows:
        """See `InfiniticTables.member_rows`."""
        return self._database.read(self._reads.members, keys)

    def member_page(self, key: str, behind: bytes | None, limit: int) -> Rows:
        """See `InfiniticTables.member_page`: by the members themselves."""
        statement = self._reads.members_page[FROM if behind is None else BEHIND]
        rows = self._database.read(statement, key, behind or b"", limit)
        return [(member, member) for (member,) in rows]

    def found_members(self, key: str, members: Sequence[bytes]) -> Iterable[bytes]:
        """See `InfiniticTables.found_members`."""
        return [member for (member,) in self._database.read(self._reads.contains, key, members)]

    def set_page(self, prefix: str, behind: bytes | None, limit: int) -> Rows:
        """See `InfiniticTables.set_page`: by the keys themselves."""
        statement = self._reads.sets_page[FROM if behind is None else BEHIND]
        start = "" if behind is None else behind.decode()
        rows = self._database.read(statement, start, prefix, limit)
        return [(key.encode(), key) for (key,) in rows]

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._database.read(PING)

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._database.pool.counters())

    def stats(self) -> BackendStats:
        """See `Backend.stats`; bytes as they are stored, compressed or not."""
        with self._database.patient() as connection:
            ((*counted, stored_bytes),) = connection.run(self._reads.stats)
        sizes = (*zip(counted[::2], counted[1::2], strict=True), (0, 0))
        return backend_stats(self._database.pool.counters(), sizes, stored_bytes)

    def close(self) -> None:
        """See `Backend.close`."""
        self._database.close()
