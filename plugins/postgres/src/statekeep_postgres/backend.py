"""The contract, in terms of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from attrs import evolve
from statekeep import cursors
from statekeep.backend import (
    LARGE_VALUE_BYTES,
    Backend,
    BackendStats,
    Capabilities,
    Target,
)
from statekeep.clock import duration_micros
from statekeep.errors import ConfigError
from statekeep.findings import Finding
from statekeep.model import (
    DeferredMessage,
    Entry,
    Outcome,
    Page,
    Record,
    RecordKind,
    Transaction,
)
from statekeep.pending import Pending, Steps
from statekeep.sql.counting import backend_stats
from statekeep.sql.rows import entry, message
from statekeep.usage import Usage

from statekeep_postgres import creation, doctor, scans, schema, writes
from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.database import Database
from statekeep_postgres.driver import PING, Connection
from statekeep_postgres.names import Names
from statekeep_postgres.reading import Rows
from statekeep_postgres.statements import Statements

CAPABILITIES = Capabilities(durable=True, shared=True, max_value_bytes=LARGE_VALUE_BYTES)

PURGE_BATCH = 1000
"""Expired values that are removed in one transaction."""


class PostgresBackend(Backend):
    """State in a schema of a PostgreSQL database."""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._names = Names.of(config)
        self._statements = Statements(self._names)
        self._database = Database(config)
        self._capabilities = evolve(CAPABILITIES, max_connections=config.maximum_pool_size)

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return self._capabilities

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        config = self._config
        namespace = f"{config.database}|{config.schema}"
        return Target("postgresql", config.host, config.port, namespace)

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        if len(keys) == 1:
            return _entry(keys[0], self._database.read(self._statements.get, keys[0]))
        return _entries(self._database.read(self._statements.get_many, keys)) if keys else {}

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`."""
        if not keys:
            return None

        def steps(connection: Connection) -> Steps[dict[str, Entry]]:
            if len(keys) == 1:
                rows = yield connection.begin(self._statements.get, keys[0])
                return _entry(keys[0], rows)
            return _entries((yield connection.begin(self._statements.get_many, keys)))

        return self._database.start(steps)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        found: dict[str, list[bytes]] = {key: [] for key in keys}
        if keys:
            for key, member in self._database.read(self._statements.members, keys):
                found[key].append(member)
        return {key: frozenset(members) for key, members in found.items()}

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        scope = f"members {key}"
        position = cursors.decode(scope, cursor) or b""
        rows = self._database.read(self._statements.members_page, key, position, limit + 1)
        found = [member for (member,) in rows[:limit]]
        return Page(found, cursors.encode(scope, found[-1]) if len(rows) > limit else None)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        if not members:
            return frozenset()
        rows = self._database.read(self._statements.contains, key, members)
        return frozenset(member for (member,) in rows)

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        if not names:
            return {}
        queues, ids = zip(*names, strict=True)
        rows = self._database.read(self._statements.messages_many, queues, ids)
        found = (message(row) for row in rows)
        return {each.name: each for each in found}

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        micros = duration_micros(lease)
        rows = self._database.write(self._statements.claim, queue, limit, micros)
        rows.sort(key=lambda row: (row[-1], row[1]))  # RETURNING has no order
        return [message(row[:-1]) for row in rows]

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        return scans.scan(self._database, self._statements, kind, prefix, limit, cursor)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        return writes.commit(self._database, self._statements, transactions)

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`."""
        return writes.start(self._database, self._statements, transactions)

    def missing(self) -> Sequence[str]:
        """See `Backend.missing`."""
        with self._database.connection_unless(creation.is_missing) as connection:
            if connection is None:
                return (f"database {self._config.database}", f"schema {self._config.schema}")
            return schema.inspect(connection, self._names).phrases()

    def setup(self) -> None:
        """See `Backend.setup`."""
        with self._database.connection_unless(creation.is_missing) as connection:
            if connection is not None:
                self._set_up(connection)
                return
        if not self._config.create:
            raise self._to_be_created((f"database {self._config.database}",))
        creation.create_database(self._config)
        with self._database.connection() as connection:
            self._set_up(connection)

    def _set_up(self, connection: Connection) -> None:
        found = schema.inspect(connection, self._names)
        if found.complete:
            return
        if not self._config.create:
            raise self._to_be_created(found.phrases())
        schema.create(connection, self._names)

    def _to_be_created(self, phrases: Sequence[str]) -> ConfigError:
        return ConfigError(
            f"{self._database.name} lacks {', '.join(phrases)}, and nothing was to be created "
            "(create = false): let an administrator run `setup()` once"
        )

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._database.read(PING)

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._database.pool.counters())

    def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        with self._database.patient() as connection:
            (row,) = connection.run(self._statements.stats)
        *counted, stored_bytes = row
        sizes = zip(counted[::2], counted[1::2], strict=True)
        return backend_stats(self._database.pool.counters(), sizes, stored_bytes)

    def examine(self) -> Iterator[Finding]:
        """See `Backend.examine`."""
        return doctor.examine(self._database, self._names, self._config)

    def purge(self) -> int:
        """See `Backend.purge`."""
        purged = 0
        while True:
            count: int
            ((count,),) = self._database.write(self._statements.purge, PURGE_BATCH)
            purged += count
            if count < PURGE_BATCH:
                return purged

    def close(self) -> None:
        """See `Backend.close`."""
        self._database.close()


def _entry(key: str, rows: Rows) -> dict[str, Entry]:
    return {key: entry(key, *rows[0])} if rows else {}


def _entries(rows: Rows) -> dict[str, Entry]:
    return {row[0]: entry(*row) for row in rows}
