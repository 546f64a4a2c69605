"""What `examine()` looks at: settings, rights, replication, tables, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator

from statekeep import examining
from statekeep.clock import now_micros
from statekeep.examining import MOST_QUEUES, Queue, advice, good, problem, unknown
from statekeep.findings import Finding
from statekeep.usage import PoolStats

from statekeep_postgres import catalog, creation, rights, settings
from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.database import Database
from statekeep_postgres.driver import Connection
from statekeep_postgres.names import Names, literal, quote

CHECKS = {
    "version": "the server's version",
    "server_encoding": "whether the database can hold every key",
    "synchronous_commit": "whether an acknowledged write is on the disk",
    "fsync": "whether the server has its disk keep what it wrote",
    "full_page_writes": "whether a page can be damaged by a stop in its middle",
    "autovacuum": "whether dead rows are removed",
    "timeouts": "how long a statement may take",
    "role": "whether it is a primary, which takes writes",
    "max_connections": "the server's connections against this pool",
    "rights": "every right that the user needs",
    "replication": "standbys, and whether those that commits wait for are there",
    "slots": "replication slots that keep the log from being removed",
    "long-transactions": "transactions that keep dead rows from being removed, and hold locks",
    "wraparound": "how near the counter of transactions is to its end",
    "dead-rows": "dead rows against live ones in each table",
    "indexes": "whether every index is valid",
    **examining.CHECKS,
}
LAG_BYTES = 256 * 2**20
SLOT_BYTES = 2**30
MANY_DEAD = 10_000
VERY_MANY_DEAD = 100_000
LONG = 300
"""Seconds after which a transaction is long: statekeep's own take milliseconds."""

OLD_AGE = 1_500_000_000
"""Of the 2^31 transactions after which the server refuses writes; autovacuum begins at 2e8."""


def examine(database: Database, names: Names, config: PostgresConfig) -> Iterator[Finding]:
    """See `Backend.examine`."""
    with database.connection_unless(creation.is_missing) as connection:
        if connection is None:
            return
        yield from _Examination(connection, names, config, database.pool.counters()).findings()


class _Examination:
    """One look at a server, over one connection."""

    def __init__(
        self, connection: Connection, names: Names, config: PostgresConfig, own: PoolStats
    ) -> None:
        self._connection, self._names, self._config = connection, names, config
        self._own = own.in_use + own.idle
        ((self._standby, self._user, self._sees_all, self._in_use, self._age),) = connection.run(
            catalog.STATE
        )
        self._settings: dict[str, str] = dict(connection.run(catalog.SETTINGS, settings.NAMES))

    def findings(self) -> Iterator[Finding]:
        yield from settings.examined(self._settings, self._config)
        yield self._role()
        yield settings.connections(self._settings, self._config, self._in_use - self._own)
        yield self._wraparound()
        looks = [
            ("rights", lambda: rights.examined(self._connection, self._names, self._config)),
            ("replication", self._replication),
            ("slots", self._slots),
            ("long-transactions", self._transactions),
            ("dead-rows", self._dead_rows),
            ("indexes", self._indexes),
            ("clock", self._clock),
            ("expired", self._expired),
            ("queues", self._queues),
        ]
        yield from examining.examined(looks)

    def _role(self) -> Finding:
        if not self._standby:
            return good("role", "a primary")
        return problem(
            "role",
            "a standby",
            "every write is refused",
            'host = the primary, or all hosts with target_session_attrs = "read-write"',
        )

    def _wraparound(self) -> Finding:
        found = f"{self._age} transactions since the oldest row was frozen"
        if self._age < OLD_AGE:
            return good("wraparound", found)
        return problem(
            "wraparound",
            found,
            "at 2 147 000 000 the server refuses every write until it was vacuumed",
            "end long transactions and drop idle slots; then: VACUUM FREEZE;",
        )

    def _replication(self) -> Iterator[Finding]:
        wanted = self._settings["synchronous_standby_names"]
        if self._standby:
            return
        standbys = self._connection.run(catalog.STANDBYS)
        if standbys and not self._sees_all:
            yield unknown(
                "replication", f"{len(standbys)} standbys, of which {self._user!r} sees no more",
                f"GRANT pg_monitor TO {quote(self._user)};",
            )  # fmt: skip
            return
        synchronous = [name for name, kind, *_ in standbys if kind in ("sync", "quorum")]
        if wanted and not synchronous:
            yield problem(
                "replication",
                f"synchronous_standby_names is {wanted!r}, and no such standby is connected",
                "every commit waits for it, until its time limit makes it OutcomeUnknown",
                "start the standby; or, at the price of losing writes in a failover: "
                "ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
            )
        for name, kind, state, lag in standbys:
            found = f"standby {name}: {kind}, {state}, {lag} bytes behind"
            if lag > LAG_BYTES:
                yield advice(
                    "replication",
                    found,
                    "a failover to it loses what it has not got, or takes long",
                    "look at the network, and at the standby's disk and queries",
                )
            else:
                yield good("replication", found)
        if not standbys and not wanted:
            yield good("replication", "no standby: what is lost with this disk is in the backup")

    def _slots(self) -> Iterator[Finding]:
        if self._standby:
            return
        slots = self._connection.run(catalog.SLOTS)
        for name, size in slots:
            if size > SLOT_BYTES:
                yield problem(
                    "slots",
                    f"slot {name!r}, which nobody reads, keeps {size / 2**20:.0f} MiB of log",
                    "the log grows until the disk is full",
                    f"SELECT pg_drop_replication_slot({literal(name)});",
                )
        if not any(size > SLOT_BYTES for _, size in slots):
            yield good("slots", f"{len(slots)} slots without a reader keep little or nothing")

    def _transactions(self) -> Iterator[Finding]:
        found = self._connection.run(catalog.TRANSACTIONS, LONG)
        for pid, who, seconds in found[: examining.SHOWN]:
            prepared = pid == 0
            ending = f"ROLLBACK PREPARED {literal(who)};" if prepared else (
                f"SELECT pg_terminate_backend({pid});"
            )  # fmt: skip
            yield advice(
                "long-transactions",
                f"{'prepared transaction' if prepared else f'process {pid} of user'} {who!r} is "
                f"open for {seconds // 60} minutes",
                "no row that died since can be removed, in any table, and its locks are held",
                f"{ending} ALTER SYSTEM SET idle_in_transaction_session_timeout = '5min';",
            )
        if not self._sees_all:
            yield unknown(
                "long-transactions",
                f"{self._user!r} sees only its own",
                f"GRANT pg_monitor TO {quote(self._user)};",
            )
        elif not found:
            yield good("long-transactions", f"none is open for longer than {LONG // 60} minutes")

    def _dead_rows(self) -> Iterator[Finding]:
        tables = self._connection.run(catalog.TABLES, self._names.schema, list(self._names.tables))
        for table, live, dead, last, off in tables:
            if off:
                yield problem(
                    "autovacuum",
                    f"it is off for table {table}",
                    "every update leaves a dead row that nothing removes",
                    f"ALTER TABLE {self._names.q(table)} RESET (autovacuum_enabled);",
                )
            found = f"{table}: {dead} dead rows, {live} live ones, last autovacuum {last}"
            if dead < MANY_DEAD or dead <= live:
                yield good("dead-rows", found)
                continue
            many = dead > VERY_MANY_DEAD and dead > 5 * live
            yield (problem if many else advice)(
                "dead-rows",
                found,
                "the table takes several times the room that it needs, and reads get slower",
                f"VACUUM (VERBOSE) {self._names.q(table)}; "
                f"ALTER TABLE {self._names.q(table)} SET (autovacuum_vacuum_scale_factor = 0.02);",
            )

    def _indexes(self) -> Iterator[Finding]:
        ours = list(self._names.tables)
        indexes = self._connection.run(catalog.INDEXES, self._names.schema, ours)
        broken = [name for name, valid in indexes if not valid]
        for name in broken:
            yield problem(
                "indexes",
                f"{name} is not valid",
                "it is not used: calls that need it read the whole table",
                f"REINDEX INDEX CONCURRENTLY {self._names.q(name)};",
            )
        if indexes and not broken:
            yield good("indexes", f"all {len(indexes)} are valid")

    def _clock(self) -> Iterator[Finding]:
        before = now_micros()
        ((server,),) = self._connection.run(catalog.CLOCK)
        yield examining.clock(server, before, now_micros())

    def _there(self, table: str) -> bool:
        return bool(self._connection.run(catalog.TABLES, self._names.schema, [table]))

    def _expired(self) -> Iterator[Finding]:
        most = examining.MANY_EXPIRED
        if self._there(self._names.key_value):
            ((count,),) = self._connection.run(catalog.expired(self._names, most))
            yield examining.expired(count, count < most)

    def _queues(self) -> Iterator[Finding]:
        if not self._there(self._names.deferred):
            return
        rows = self._connection.run(catalog.queues(self._names))
        found = [Queue.of(name, row) for name, *row in rows[:MOST_QUEUES]]
        more = len(rows) > MOST_QUEUES
        yield from examining.queues(found, now_micros(), examining.bounds(found, more))
