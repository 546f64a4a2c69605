"""The contract, in terms of the database."""

from __future__ import annotations

import secrets
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
from statekeep.sql.rows import entry
from statekeep.usage import Usage

from statekeep_mysql import creation, doctor, scans, schema, upkeep, writes
from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.database import Database
from statekeep_mysql.driver import Connection
from statekeep_mysql.names import Names
from statekeep_mysql.reading import Rows
from statekeep_mysql.statements import Statements

CAPABILITIES = Capabilities(durable=True, shared=True, max_value_bytes=LARGE_VALUE_BYTES)


class MysqlBackend(Backend):
    """State in a database of a MySQL or MariaDB server."""

    def __init__(self, config: MysqlConfig) -> None:
        self._config = config
        self._names = Names.of(config)
        self._statements = Statements(self._names)
        self._database = Database(config)

    @property
    def capabilities(self) -> Capabilities:
        """Everything, with values as large as the server takes; it is asked by `setup()`."""
        return evolve(
            CAPABILITIES,
            max_value_bytes=self._database.max_value_bytes,
            max_connections=self._config.maximum_pool_size,
        )

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        config = self._config
        return Target("mysql", config.host, config.port, config.database)

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        if len(keys) == 1:
            (key,) = keys
            return _entry(key, self._database.query(self._statements.get(key)))
        return _entries(self._database.rows(self._statements.get_many(keys)))

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`."""
        statements = self._statements
        alone = keys[0] if len(keys) == 1 else None
        asked = statements.get_many(keys) if alone is None else [statements.get(alone)]
        if len(asked) != 1:  # none, or several that must see one instant
            return None

        def steps(connection: Connection) -> Steps[dict[str, Entry]]:
            (result,) = yield connection.begin(asked)
            return _entries(result.rows) if alone is None else _entry(alone, result.rows)

        return self._database.start(steps)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        found: dict[str, list[bytes]] = {key: [] for key in keys}
        for key, member in self._database.rows(self._statements.members_many(keys)):
            found[key.decode()].append(member)
        return {key: frozenset(members) for key, members in found.items()}

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        scope = f"members {key}"
        position = cursors.decode(scope, cursor) or b""
        rows = self._database.query(self._statements.members(key, position, limit + 1))
        found = [member for (member,) in rows[:limit]]
        return Page(found, cursors.encode(scope, found[-1]) if len(rows) > limit else None)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        return frozenset(
            member for (member,) in self._database.rows(self._statements.contains(key, members))
        )

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        found = (
            scans.decoded(row) for row in self._database.rows(self._statements.messages_many(names))
        )
        return {each.name: each for each in found}

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        token = secrets.token_hex(16)
        script = self._statements.claim(queue, limit, duration_micros(lease), token)
        results = self._database.writing(lambda connection: connection.run(script, writes=True))
        messages: list[DeferredMessage] = [scans.decoded(row) for row in results[-1].rows]
        messages.sort(key=lambda message: (_since(message), message.id))
        return messages

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        return scans.scan(self._database, self._names, kind, prefix, limit, cursor)

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
                return (f"database {self._config.database}",)
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
        self._database.query("SELECT 1")

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._database.pool.counters())

    def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        return upkeep.stats(self._database, self._statements)

    def examine(self) -> Iterator[Finding]:
        """See `Backend.examine`."""
        return doctor.examine(self._database, self._statements, self._config)

    def purge(self) -> int:
        """See `Backend.purge`."""
        return upkeep.purge(self._database, self._statements)

    def close(self) -> None:
        """See `Backend.close`."""
        self._database.close()


def _entry(key: str, rows: Rows) -> dict[str, Entry]:
    return {key: entry(key, *rows[0])} if rows else {}


def _entries(rows: Rows) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for name, *row in rows:
        key = name.decode()
        found[key] = entry(key, *row)
    return found


def _since(message: DeferredMessage) -> int:
    """Since when a message that was just claimed could be claimed: its token says so."""
    return int(message.token.rpartition(".")[2])
