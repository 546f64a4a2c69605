"""The MySQL backend beside PyMySQL and asyncmy by hand, on a MariaDB server of its own.

Each side uses its own connection over loopback, without TLS, and the same statement on the same
table; the server flushes nothing (innodb_flush_log_at_trx_commit = 0), so that what is compared is
the client's work and the number of round trips, with the server's work in both.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import asyncmy
import pymysql
import statekeep
from statekeep import Schedule, Storage, Transaction
from statekeep.layers.base import innermost

from benchmarks.embedded import hundreds, putter
from benchmarks.harness import Comparison, Repeat, Side, Workshop, at_most, calls
from benchmarks.machine import apart
from benchmarks.peers import awaits
from benchmarks.workload import KEYS, VALUE, conditional, fill, key, picks, transaction
from tests.servers.mysql import PASSWORD, MysqlProcess

NOW = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))"
LIVE = f"(expires IS NULL OR expires>{NOW})"
GET = f"SELECT version,expires,value FROM key_value_storage WHERE {LIVE} AND `key`=%s"
GET_MANY = (
    "SELECT `key`,version,expires,value FROM key_value_storage FORCE INDEX (PRIMARY) "
    f"WHERE `key` IN %s AND {LIVE}"
)
PUT_AT = (
    "UPDATE key_value_storage SET version=version+1,expires=NULL,value=%s "
    f"WHERE `key`=%s AND version=%s AND {LIVE}"
)
PUT = (
    "INSERT INTO key_value_storage (`key`,version,value) VALUES (%s,1,%s) "
    "ON DUPLICATE KEY UPDATE version=version+1,expires=NULL,value=VALUES(value)"
)
HOUR = timedelta(hours=1)
PAST = timedelta(hours=-1)
AT_ONCE = 10
"""Messages that a worker claims in one call."""


def mysql_bare(workshop: Workshop) -> Iterator[Comparison]:
    """Beside PyMySQL: one value, a hundred, a condition, a unit of work."""
    with served() as (server, storage), _client(server) as client, client.cursor() as cursor:
        fill(storage)

        def get(name: str) -> Any:
            cursor.execute(GET, (name.encode(),))
            return cursor.fetchone()

        def get_many(names: tuple[str, ...]) -> Any:
            cursor.execute(GET_MANY, ([name.encode() for name in names],))
            return cursor.fetchall()

        def put(name: str) -> None:
            cursor.execute(PUT, (b"bare/" + name.encode(), VALUE))

        ours, backend = storage.values, innermost(storage.backend)
        one = Side("SELECT", calls(get, picks()))
        yield Comparison(
            "mysql get", Side("values.get", calls(ours.get, picks())), one, at_most(1.10)
        )
        yield Comparison(
            "mysql get, without envelope",
            Side("backend.get_many", calls(lambda name: backend.get_many((name,)), picks())),
            one,
        )
        yield Comparison(
            "mysql get_many of 100",
            Side("values.get_many", calls(ours.get_many, hundreds())),
            Side("SELECT ... IN", calls(get_many, hundreds())),
            at_most(1.25),
        )
        yield Comparison(
            "mysql conditional put",
            Side("values.put(expected=...)", calls(conditional(storage), picks())),
            Side("UPDATE", calls(_bare_conditional(cursor, storage), picks())),
            at_most(1.15),
        )
        upsert = Side("upsert without version", calls(put, picks()))
        yield Comparison("mysql put", Side("values.put", calls(putter(storage), picks())), upsert)
        yield Comparison(
            "mysql transaction of state, tag and timer",
            Side("storage.transaction", calls(transaction(storage), picks())),
            upsert,
        )


def mysql_async(workshop: Workshop) -> Iterator[Comparison]:
    """Beside asyncmy, awaited by one task."""
    with served() as (server, storage), asyncio.Runner() as runner:
        fill(storage)
        server.sql("CREATE USER 'plain'@'%' IDENTIFIED BY 'x'")  # asyncmy knows Latin-1 only
        server.sql("GRANT ALL ON infinitic.* TO 'plain'@'%'")
        options = {"host": "127.0.0.1", "port": server.port, "user": "plain", "password": "x"}
        client = runner.run(asyncmy.connect(**options, db="infinitic", autocommit=True))

        async def get(name: str) -> Any:
            async with client.cursor() as cursor:
                await cursor.execute(GET, (name.encode(),))
                return await cursor.fetchone()

        async def get_many(names: tuple[str, ...]) -> Any:
            async with client.cursor() as cursor:
                await cursor.execute(GET_MANY, (tuple(name.encode() for name in names),))
                return await cursor.fetchall()

        ours = storage.values
        yield Comparison(
            "mysql get beside asyncmy",
            Side("values.get", calls(ours.get, picks())),
            Side("await execute, fetchone", awaits(runner, get, picks())),
        )
        yield Comparison(
            "mysql get_many of 100 beside asyncmy",
            Side("values.get_many", calls(ours.get_many, hundreds())),
            Side("await execute, fetchall", awaits(runner, get_many, hundreds())),
        )
        runner.run(client.ensure_closed())


def mysql_claims(workshop: Workshop) -> Iterator[Comparison]:
    """Messages claimed ten at a time and acknowledged, by several threads on one queue."""
    with served() as (_, storage):
        for workers in (1, 4, 8):
            yield Comparison(
                f"mysql claim and acknowledge, {workers} workers",
                Side("claim, transaction", claims(storage, workers)),
                note="µs a message",
                long=True,
            )


@contextmanager
def served() -> Iterator[tuple[MysqlProcess, Storage]]:
    """A server and a storage on it."""
    with MysqlProcess() as server, apart(server.pid):
        options = {
            "host": "127.0.0.1",
            "port": server.port,
            "username": "app",
            "password": PASSWORD,
            "ssl_mode": "disabled",
        }
        with statekeep.open({"mysql": options}) as storage:
            yield server, storage


def _client(server: MysqlProcess) -> Any:
    return pymysql.connect(
        host="127.0.0.1",
        port=server.port,
        user="app",
        password=PASSWORD.encode(),
        database="infinitic",
        autocommit=True,
        ssl_disabled=True,
    )


def _bare_conditional(cursor: Any, storage: Storage) -> Callable[[str], None]:
    versions = {f"own/{key(n)}": storage.values.put(f"own/{key(n)}", VALUE) for n in range(KEYS)}

    def conditional(name: str) -> None:
        own = f"own/{name}"
        if not cursor.execute(PUT_AT, (VALUE, own.encode(), versions[own])):
            raise AssertionError("nobody else writes here")
        versions[own] += 1

    return conditional


def claims(storage: Storage, workers: int) -> Repeat:
    """Messages claimed ten at a time and acknowledged together; the scheduling is not counted."""

    def work() -> None:
        while messages := storage.deferred.claim("work", limit=AT_ONCE):
            with storage.transaction() as unit:
                for message in messages:
                    unit.acknowledge(message)

    def repeat(count: int) -> float:
        numbers = range(max(count, workers * AT_ONCE))
        storage.backend.commit(
            [Transaction([Schedule("work", f"{number}", PAST, VALUE)]) for number in numbers]
        )
        threads = [threading.Thread(target=work) for _ in range(workers)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - start) * count / len(numbers)

    return repeat
