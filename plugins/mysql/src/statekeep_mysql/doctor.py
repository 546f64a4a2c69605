"""What `examine()` looks at: settings, rights, the cluster, tables, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from statekeep import examining
from statekeep.clock import MICROSECOND, now_micros
from statekeep.errors import AccessDenied
from statekeep.examining import MOST_QUEUES, OVERDUE, Queue, advice, good, problem, unknown
from statekeep.findings import Finding

from statekeep_mysql import creation, dialect, rights, settings
from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.database import Database
from statekeep_mysql.driver import Connection
from statekeep_mysql.literals import NOW, data, quoted
from statekeep_mysql.names import quote
from statekeep_mysql.reading import Rows
from statekeep_mysql.statements import Statements

CHECKS = {
    "version": "which of the two servers it is, and its version",
    "innodb_flush_log_at_trx_commit": "whether an acknowledged write is on the disk",
    "innodb_flush_method": "whether the server has its disk keep what it wrote",
    "innodb_doublewrite": "whether a page can be damaged by a stop in its middle",
    "sync_binlog": "whether the binary log is on the disk",
    "binlog_format": "whether the binary log allows READ COMMITTED",
    "transaction_isolation": "whether connections have the isolation that they set",
    "wait_timeout": "whether the server keeps connections as long as the pool does",
    "sql_mode": "whether what does not fit is refused",
    "max_allowed_packet": "the largest value that can be stored",
    "max_connections": "the server's connections against this pool",
    "role": "whether it takes writes",
    "history": "old row versions that wait to be purged",
    "galera": "whether the node is in sync with a majority",
    "wsrep_sync_wait": "whether reads see what other nodes acknowledged",
    "rights": "every right that the user needs",
    "long-transactions": "transactions that keep old row versions, and hold locks",
    "engine": "whether the tables are in InnoDB",
    "fragmentation": "room in each table's file that nothing uses",
    **examining.CHECKS,
}
LONG = 300
"""Seconds after which a transaction is long: statekeep's own take milliseconds."""

MUCH_FREE = 64 * 2**20

TRANSACTIONS = (
    "SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) AS age "
    "FROM information_schema.INNODB_TRX "
    "WHERE trx_mysql_thread_id <> CONNECTION_ID() HAVING age >= {seconds} ORDER BY age DESC"
)
CLOCK = f"SELECT {NOW}"


def examine(database: Database, statements: Statements, config: MysqlConfig) -> Iterator[Finding]:
    """See `Backend.examine`."""
    with database.connection_unless(creation.is_missing) as connection:
        if connection is None:
            return
        greeting = connection.greeting
        yield good(
            "version", f"{'MariaDB' if dialect.is_mariadb(greeting) else 'MySQL'}, {greeting}"
        )
        found = _settings(connection)
        pool = database.pool.counters()
        others = int(found["Threads_connected"]) - pool.in_use - pool.idle
        found["Threads_connected"] = str(max(others, 0))
        yield from settings.durability(found)
        yield from settings.session(found, config)
        yield from settings.limits(found, config, database.max_value_bytes)
        yield settings.role(found)
        if (history := settings.history(found)) is not None:
            yield history
        yield from settings.galera(found)
        yield from _Examination(connection, statements).findings()


def _settings(connection: Connection) -> dict[str, str]:
    """The server's settings, then its status, then what the session has for itself."""
    asked = (
        ("SHOW GLOBAL VARIABLES", settings.GLOBALS),
        ("SHOW GLOBAL STATUS", settings.STATUS),
        ("SHOW SESSION VARIABLES", settings.SESSION),
    )
    results = connection.run(
        [f"{show} WHERE Variable_name IN ({_list(names)})" for show, names in asked]
    )
    return {str(name): str(value) for result in results for name, value in result.rows}


def _list(names: Sequence[str]) -> str:
    return ",".join(map(quoted, names))


class _Examination:
    """One look at the tables, over one connection."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection, self._statements = connection, statements
        self._names = names = statements.names
        ours = _list([names.key_value, names.key_set, names.deferred, names.floor, names.layout])
        rows = self._rows(
            "SELECT TABLE_NAME, ENGINE, DATA_LENGTH + INDEX_LENGTH, DATA_FREE "  # noqa: S608
            f"FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
            f"AND TABLE_NAME IN ({ours})"
        )
        self._tables: Mapping[str, tuple[str, int, int]] = {
            str(name).lower(): (str(engine), int(size or 0), int(free or 0))
            for name, engine, size, free in rows
        }

    def findings(self) -> Iterator[Finding]:
        looks = [
            (
                "rights",
                lambda: rights.examined(self._connection, self._names, set(self._tables)),
            ),
            ("long-transactions", self._transactions),
            ("engine", self._engines),
            ("fragmentation", self._fragmentation),
            ("clock", self._clock),
            ("expired", self._expired),
            ("queues", self._queues),
        ]
        yield from examining.examined(looks)

    def _rows(self, statement: str) -> Rows:
        return self._connection.run((statement,))[0].rows

    def _transactions(self) -> Iterator[Finding]:
        try:
            found = self._rows(TRANSACTIONS.format(seconds=LONG))
        except AccessDenied:
            yield unknown(
                "long-transactions",
                "the user lacks PROCESS, with which the transactions of others are seen",
                f"GRANT PROCESS ON *.* TO {rights.account(self._connection)};",
            )
            return
        for thread, seconds in found[: examining.SHOWN]:
            yield advice(
                "long-transactions",
                f"connection {thread} has one open for {int(seconds) // 60} minutes",
                "old row versions are kept since, and its locks are held",
                f"KILL {thread}; and look at the program that left it open",
            )
        if not found:
            yield good("long-transactions", f"none is open for longer than {LONG // 60} minutes")

    def _engines(self) -> Iterator[Finding]:
        others = {name: row[0] for name, row in self._tables.items() if row[0] != "InnoDB"}
        for name, engine in others.items():
            yield problem(
                "engine",
                f"{name} is in {engine}",
                "it has no transactions: half of one may be applied",
                f"ALTER TABLE {quote(name)} ENGINE = InnoDB;",
            )
        if self._tables and not others:
            yield good("engine", "all tables are in InnoDB")

    def _fragmentation(self) -> Iterator[Finding]:
        for name, (_, size, free) in sorted(self._tables.items()):
            found = f"{name}: {free / 2**20:.0f} MiB unused, {size / 2**20:.0f} MiB in use"
            if free < MUCH_FREE or free < size:
                yield good("fragmentation", found)
                continue
            yield advice(
                "fragmentation",
                found,
                "what was deleted is used again, but not given back to the disk",
                f"OPTIMIZE TABLE {quote(name)}; (it copies the table)",
            )

    def _clock(self) -> Iterator[Finding]:
        before = now_micros()
        ((server,),) = self._rows(CLOCK)
        yield examining.clock(int(server), before, now_micros())

    def _expired(self) -> Iterator[Finding]:
        if self._names.key_value.lower() not in self._tables:
            return
        most = examining.MANY_EXPIRED
        ((count,),) = self._rows(
            f"SELECT COUNT(*) FROM (SELECT 1 FROM {self._names.key_value_table} "  # noqa: S608
            f"FORCE INDEX ({self._statements.expires_index}) WHERE expires<={NOW} LIMIT {most}) x"
        )
        yield examining.expired(int(count), int(count) < most)

    def _queues(self) -> Iterator[Finding]:
        if self._names.deferred.lower() not in self._tables:
            return
        found: list[Queue] = []
        name = self._next_queue(b"")
        while name is not None and len(found) < MOST_QUEUES:
            (row,) = self._rows(self._messages(name))
            found.append(Queue.of(name.decode(), row))
            name = self._next_queue(name)
        bounded = examining.bounds(found, name is not None)
        yield from examining.queues(found, now_micros(), bounded)

    def _next_queue(self, behind: bytes) -> bytes | None:
        rows = self._rows(
            f"SELECT queue FROM {self._names.deferred_table} FORCE INDEX (PRIMARY) "  # noqa: S608
            f"WHERE queue>{data(behind)} ORDER BY queue LIMIT 1"
        )
        return bytes(rows[0][0]) if rows else None

    def _messages(self, queue: bytes) -> str:
        late = f"visible<={NOW}-{OVERDUE // MICROSECOND}"
        return (
            f"SELECT COUNT(*),SUM({late}),MIN(IF({late},visible,NULL)),"  # noqa: S608
            f"SUM({late} AND token<>''),SUM(attempt>={examining.MANY_ATTEMPTS}),MAX(attempt) FROM "
            f"(SELECT visible,attempt,token FROM {self._names.deferred_table} "
            f"FORCE INDEX ({self._statements.visible_index}) WHERE queue={data(queue)} "
            f"ORDER BY visible,id LIMIT {examining.MOST_MESSAGES}) x"
        )
