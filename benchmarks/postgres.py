"""The PostgreSQL backend beside pg8000, psycopg, asyncpg and py-key-value-aio, on its own server.

The server runs without fsync, over loopback, and has a core of its own: what is compared is the
work of the client and the number of round trips, and the server's work is in both. Statements by
hand are those that the backend sends, prepared once; pg8000 gets a socket with TCP_NODELAY, which
it leaves off.
"""

from __future__ import annotations

import asyncio
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from itertools import cycle, islice
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no type hints
import pg8000.native
import psycopg
import statekeep
from key_value.aio.stores.postgresql import PostgreSQLStore
from statekeep import Storage
from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.names import Names
from statekeep_postgres.statements import Statements

from benchmarks.embedded import hundreds, putter
from benchmarks.harness import Comparison, Repeat, Side, Workshop, at_most, calls, faster
from benchmarks.machine import apart
from benchmarks.peers import awaits
from benchmarks.workload import (
    ENCODED,
    KEYS,
    MAPPING,
    SHORT,
    VALUE,
    conditional,
    fill,
    key,
    picks,
    transaction,
)
from tests.servers.postgres import PostgresProcess

THREADS = 8
MESSAGES = 10_000
CLAIMERS = (1, 4, 8)
HAND = "by_hand"
INSTANT = timedelta(microseconds=1)


def postgres_bare(workshop: Workshop) -> Iterator[Comparison]:
    """Beside one connection and the same statement, prepared by hand."""
    with _served() as (server, storage), ExitStack() as stack:
        fill(storage)
        hand = Hand(server)
        stack.callback(hand.close)
        get = Side("values.get", calls(storage.values.get, picks()))
        get_many = Side("values.get_many", calls(storage.values.get_many, hundreds()))
        yield Comparison(
            "postgres get", get, Side("pg8000, prepared", calls(hand.get, picks())), at_most(1.10)
        )
        yield Comparison(
            "postgres get_many of 100",
            get_many,
            Side("pg8000, prepared = ANY", calls(hand.get_many, hundreds())),
        )
        yield Comparison(
            "postgres conditional put",
            Side("values.put(expected=...)", calls(conditional(storage), picks())),
            Side("pg8000, prepared UPDATE", calls(hand.conditional, picks())),
            at_most(1.15),
        )
        yield Comparison(
            "postgres put beside an upsert",
            Side("values.put", calls(putter(storage), picks())),
            Side("pg8000, prepared upsert", calls(hand.put, picks())),
        )
        yield Comparison(
            "postgres transaction of state, tag and timer",
            Side("storage.transaction", calls(transaction(storage), picks())),
            Side("pg8000, five statements", calls(hand.transaction, picks())),
        )
        with psycopg.connect(**_login(server), autocommit=True, prepare_threshold=0) as other:
            sql = hand.sql.get.sql.replace("$1", "%s")

            def read(name: str) -> Any:
                return other.execute(sql, (name,), binary=True).fetchone()

            yield Comparison(
                "postgres get beside psycopg 3", get, Side("psycopg", calls(read, picks()))
            )


def postgres_threads(workshop: Workshop) -> Iterator[Comparison]:
    """Eight threads on one storage, beside eight that have a connection each."""
    with _served() as (server, storage), ExitStack() as stack:
        fill(storage)
        hands = [Hand(server) for _ in range(THREADS)]
        for hand in hands:
            stack.callback(hand.close)
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        yield Comparison(
            f"postgres get by {THREADS} threads",
            Side("one storage", together(pool, [storage.values.get] * THREADS, picks())),
            Side("pg8000, one each", together(pool, [hand.get for hand in hands], picks())),
            long=True,
        )


def postgres_peers(workshop: Workshop) -> Iterator[Comparison]:
    """Beside asyncpg and py-key-value-aio's PostgreSQL store; the values are the same JSON."""
    with _served() as (server, storage), asyncio.Runner() as runner:
        login = _login(server)
        connection = runner.run(asyncpg.connect(**login))
        pool = runner.run(_pool(login))
        with warnings.catch_warnings():  # it calls itself unstable
            warnings.simplefilter("ignore", UserWarning)
            store: Any = PostgreSQLStore(pool=pool)

        async def put(name: str) -> None:
            await store.put(name, MAPPING)

        async def prepare() -> None:
            await store.setup()
            for number in range(KEYS):
                await put(key(number))

        fill(storage, KEYS, ENCODED)
        runner.run(prepare())
        sql = Statements(Names.of(PostgresConfig())).get.sql
        statement = runner.run(connection.prepare(sql))
        values, pair = storage.values, "postgres beside py-key-value-aio"
        get = Side("values.get", calls(values.get, picks()))
        yield Comparison(
            "postgres get beside asyncpg's connection",
            get,
            Side("await statement.fetchrow", awaits(runner, statement.fetchrow, picks())),
        )

        async def from_pool(name: str) -> Any:
            return await pool.fetchrow(sql, name)

        yield Comparison(
            "postgres get beside asyncpg's pool",
            get,
            Side("await pool.fetchrow", awaits(runner, from_pool, picks())),
        )
        yield Comparison(
            f"get: {pair}",
            get,
            Side("await store.get", awaits(runner, store.get, picks())),
            faster(2.5),
        )
        yield Comparison(
            f"put: {pair}",
            Side("values.put", calls(putter(storage, ENCODED), picks())),
            Side("await store.put", awaits(runner, put, picks())),
        )
        yield Comparison(
            f"get_many of 100: {pair}",
            Side("values.get_many", calls(values.get_many, hundreds())),
            Side("await store.get_many", awaits(runner, store.get_many, hundreds())),
            faster(30),
        )
        runner.run(connection.close())
        runner.run(pool.close())


def postgres_scale(workshop: Workshop) -> Iterator[Comparison]:
    """The same call among a thousand and among a million rows."""
    many = workshop.plan.many
    with _served() as (server, few), _opened(server, "many") as all_rows:
        fill(few, KEYS, SHORT)
        fill(all_rows, many, SHORT)
        for table in ("infinitic", "many"):
            server.sql(f"VACUUM ANALYZE {table}.key_value_storage")
        for name, call in (("get", lambda found: found.values.get), ("put", _short)):
            yield Comparison(
                f"postgres {name} among {many:,} keys",
                Side(f"{name}, {many:,} keys", calls(call(all_rows), picks(many))),
                Side(f"{name}, {KEYS:,} keys", calls(call(few), picks(KEYS))),
                at_most(1.2),
            )


def postgres_claims(workshop: Workshop) -> Iterator[Comparison]:
    """Messages claimed one at a time, by several threads of one storage; per message."""
    with _served() as (_, storage), ThreadPoolExecutor(max(CLAIMERS)) as pool:
        past = timedelta(seconds=-1)
        with storage.transaction() as unit:
            for number in range(min(MESSAGES, workshop.plan.many)):
                unit.schedule("timers", key(number), due=past)

        def claim(_: str) -> None:
            # The lease is over at once, so there is always something due.
            (message,) = storage.deferred.claim("timers", lease=INSTANT)
            assert message.token

        one = Side("1 worker", together(pool, [claim], picks()))
        yield Comparison("postgres claim by 1 worker", one)
        for workers in CLAIMERS[1:]:
            yield Comparison(
                f"postgres claim by {workers} workers",
                Side(f"{workers} workers", together(pool, [claim] * workers, picks())),
                one,
                long=True,
            )


def together(
    pool: ThreadPoolExecutor, functions: Sequence[Callable[[str], Any]], names: Sequence[str]
) -> Repeat:
    """Calls of several functions, each in a thread of its own; as many calls in all as asked."""
    supply = cycle(names)

    def work(function: Callable[[str], Any], batch: list[str]) -> None:
        for name in batch:
            function(name)

    def repeat(count: int) -> float:
        share = -(-count // len(functions))
        batches = [list(islice(supply, share)) for _ in functions]
        start = time.perf_counter()
        for done in [pool.submit(work, *pair) for pair in zip(functions, batches, strict=True)]:
            done.result()
        return (time.perf_counter() - start) * count / (share * len(functions))

    return repeat


class Hand:
    """What a careful person does with pg8000: one connection, every statement prepared once."""

    def __init__(self, server: PostgresProcess) -> None:
        with _opened(server, HAND) as storage:  # the same tables beside ours, filled with the same
            fill(storage)
            every = storage.values.get_many([key(number) for number in range(KEYS)])
        self._versions = {name: entry.version for name, entry in every.items()}
        names = Names.of(PostgresConfig(schema=HAND))
        self.sql = Statements(names)
        plain = socket.create_connection(server.address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = pg8000.native.Connection("postgres", sock=plain)
        self._get = self._prepared(self.sql.get.sql, "key")
        self._get_many = self._prepared(self.sql.get_many.sql, "keys")
        update = self.sql.put.sql.replace("($2 IS NULL OR version = $2)", "version = $2")
        self._update = self._prepared(update, "key", "version", "value")
        table, sets, messages = (
            names.q(name) for name in (names.key_value, names.key_set, names.deferred)
        )
        self._put = self._prepared(
            f"INSERT INTO {table} AS r (key, version, value) VALUES ($1, 1, $2) "
            "ON CONFLICT (key) DO UPDATE SET version = r.version + 1, value = excluded.value "
            "RETURNING version",
            "key",
            "value",
        )
        self._add = self._prepared(
            f"INSERT INTO {sets} VALUES ($1, $2) ON CONFLICT DO NOTHING",
            "key",
            "member",
        )
        self._schedule = self._prepared(
            f"INSERT INTO {messages} VALUES ('timers', $1, $2, $2, 0, '', '') "
            "ON CONFLICT (queue, id) DO UPDATE SET due = excluded.due, visible = excluded.visible, "
            "attempt = 0, token = ''",
            "id",
            "due",
        )

    def get(self, name: str) -> Any:
        """One row."""
        return self._get.run(key=name)

    def get_many(self, names: Sequence[str]) -> Any:
        """A hundred rows."""
        return self._get_many.run(keys=list(names))

    def put(self, name: str) -> Any:
        """An upsert."""
        return self._put.run(key=name, value=VALUE)

    def conditional(self, name: str) -> None:
        """An update at the version that the one before it left."""
        ((self._versions[name],),) = self._update.run(
            key=name, version=self._versions[name], value=VALUE
        )

    def transaction(self, name: str) -> None:
        """State, tag and timer, with BEGIN and COMMIT."""
        self._connection.run("BEGIN")
        self.put(name)
        self._add.run(key="tag/open", member=name.encode())
        self._schedule.run(id=name, due=time.time_ns() // 1000 + 3_600_000_000)
        self._connection.run("COMMIT")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def _prepared(self, sql: str, *names: str) -> Any:
        for number, name in enumerate(names, 1):
            sql = sql.replace(f"${number}", f":{name}")
        return self._connection.prepare(sql)


@contextmanager
def _served() -> Iterator[tuple[PostgresProcess, Storage]]:
    with (
        closing(PostgresProcess()) as server,
        apart(server.pid),
        _opened(server, "infinitic") as storage,
    ):
        yield server, storage


def _opened(server: PostgresProcess, schema: str) -> Storage:
    host, port = server.address
    return statekeep.open({"postgres": {"host": host, "port": port, "schema": schema}})


def _login(server: PostgresProcess) -> dict[str, Any]:
    host, port = server.address
    return {"host": host, "port": port, "user": "postgres"}


async def _pool(login: dict[str, Any]) -> Any:
    return await asyncpg.create_pool(**login, min_size=10, max_size=10)


def _short(storage: Storage) -> Callable[[str], Any]:
    return putter(storage, SHORT)
