"""What each kind of replication can lose: `python -m tests.operations.losses`.

The line to the replica is cut under load, writers go on for a while, the primary is killed and the
replica promoted. What was acknowledged and is not there is lost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pg8000.native
import pymysql
import redis as redis_py
import statekeep
from attrs import frozen

from tests.mysql.opening import APP
from tests.operations.pages import DOCS, settings, statements
from tests.redis.loads import Load
from tests.servers.mysql import MysqlProcess
from tests.servers.postgres import SAFE, PostgresProcess
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisProcess
from tests.servers.replication import MysqlReplication
from tests.servers.waiting import until

PAGE = DOCS / "high-availability.md"
MARK = re.compile(r"(<!-- losses -->\n).*?(<!-- end -->)", re.DOTALL)
AFTER_CUT = 0.5
"""Seconds that writers go on after the line was cut."""

WARM = 40
"""Transactions before that."""

COUNT = "SELECT count(*) FROM infinitic.key_value_storage"
NOT_YET = (redis_py.RedisError, pg8000.native.Error, pymysql.Error, OSError)


@frozen
class Pair:
    """A primary and its replica.

    Attributes:
        before: the config of a storage on the primary.
        after: of one on the promoted replica.
        cut: cuts the line between them.
        kill: kills the primary.
        promote: makes the replica the primary.
        arrived: how many records the replica has.
    """

    before: dict[str, Any]
    after: dict[str, Any]
    cut: Callable[[], object]
    kill: Callable[[], object]
    promote: Callable[[], object]
    arrived: Callable[[], int]


@frozen
class Loss:
    """What became of the transactions, and of the increments whose outcome nobody told."""

    acknowledged: int
    after_cut: int
    unknown: int
    lost: int


def measure(pair: Pair, seconds: float = AFTER_CUT) -> Loss:
    """The drill."""
    with statekeep.open(pair.before) as storage:
        with Load(storage) as load:
            load.progress(WARM)
            until(NOT_YET, lambda: pair.arrived() >= WARM // 2, "the replica has the first of them")
            pair.cut()
            before = len(load.acknowledged)
            time.sleep(seconds)
            pair.kill()
        pair.promote()
    with statekeep.open(pair.after) as storage:
        present = load.present(storage)
    return Loss(
        acknowledged=len(load.acknowledged),
        after_cut=len(load.acknowledged) - before,
        unknown=len(load.unknown) + sum(load.uncounted.values()),
        lost=len(load.acknowledged - present),
    )


@contextmanager
def redis(lag: bool = False, **options: Any) -> Iterator[Pair]:
    """A master and a replica behind a line; with `lag` the master minds how late the replica is."""
    mind = {"min-replicas-to-write": "1", "min-replicas-max-lag": "2"} if lag else {}
    with ExitStack() as stack:
        master = stack.enter_context(RedisProcess({"appendonly": "yes"}))
        line = stack.enter_context(Proxy(master.address))
        replica = stack.enter_context(RedisProcess({"replicaof": f"127.0.0.1 {line.port}"}))
        until(NOT_YET, lambda: master.info()["slave0"]["state"] == "online", "the replica")
        for name, value in mind.items():
            master.command("CONFIG", "SET", name, value)
        yield Pair(
            {"redis": {"host": "127.0.0.1", "port": master.port, **options}},
            {"redis": {"host": "127.0.0.1", "port": replica.port}},
            partial(setattr, line, "blackhole", True),
            master.kill,
            partial(replica.command, "REPLICAOF", "NO", "ONE"),
            partial(replica.command, "ZCARD", "statekeep:i"),
        )


@contextmanager
def postgres(synchronous: bool) -> Iterator[Pair]:
    """A primary and a standby behind a line, with the page's settings or without waiting."""
    with ExitStack() as stack:
        primary = stack.enter_context(PostgresProcess(SAFE))
        line = stack.enter_context(Proxy(primary.address))
        to = f"'host=127.0.0.1 port={line.port} user=postgres application_name=db_2'"
        standby = stack.enter_context(PostgresProcess({"primary_conninfo": to}, primary=primary))
        if synchronous:
            primary.configure(settings("high-availability", "postgres-primary"))
            primary.reload()
        state = [["quorum" if synchronous else "async"]]
        ask = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        until(NOT_YET, lambda: primary.sql(ask) == state, "replication")
        where = {"host": "127.0.0.1", "minimum_idle": 0}
        yield Pair(
            {"postgres": {**where, "port": primary.port}},
            {"postgres": {**where, "port": standby.port}},
            partial(setattr, line, "blackhole", True),
            primary.kill,
            standby.promote,
            lambda: int(standby.sql(COUNT)[0][0]),
        )


def mysql_pair(**changed: str) -> MysqlReplication:
    """A primary and its replica as the page configures them, but for these options of both."""
    page = "high-availability"
    both = settings(page, "mysql-replication") | changed
    here = {"db-1.internal": "127.0.0.1", "MASTER_PORT = 3306": "MASTER_PORT = {port}"}
    (follow,) = statements(page, "mysql-follow", here)
    return MysqlReplication(
        {**both, "server_id": "1"},
        {**both, **settings(page, "mysql-replica"), **changed},
        follow,
        statements(page, "mysql-replicator"),
    )


@contextmanager
def mysql(semi_synchronous: bool) -> Iterator[Pair]:
    """A primary and its replica, with the page's settings or without waiting."""
    switch = {} if semi_synchronous else {"rpl_semi_sync_master_enabled": "OFF"}
    with mysql_pair(**switch) as pair:
        where = {**APP, "host": "127.0.0.1", "minimum_idle": 0}
        yield Pair(
            {"mysql": {**where, "port": pair.primary.port}},
            {"mysql": {**where, "port": pair.replica.port}},
            partial(setattr, pair.line, "blackhole", True),
            pair.primary.kill,
            partial(promote, pair.replica),
            lambda: int(pair.replica.sql(COUNT)[0][0]),
        )


def promote(replica: MysqlProcess) -> None:
    """The page's statements: what has arrived is applied before."""
    page = "high-availability"
    stop, status, wait = statements(page, "mysql-drain")
    replica.sql(stop)
    with replica.client(cursorclass=pymysql.cursors.DictCursor) as client, client.cursor() as asked:
        asked.execute(status)
        position = asked.fetchall()[0]["Gtid_IO_Pos"]
    assert replica.sql(wait.replace("Gtid_IO_Pos", position)) == [(0,)]
    for statement in statements(page, "mysql-promote"):
        replica.sql(statement)


DRILLS: dict[str, Callable[[], Loss]] = {
    "Redis, asynchronous": lambda: _measured(redis()),
    "Redis, `min-replicas-max-lag 2`, 6 s": lambda: _measured(redis(lag=True), 6),
    "Redis, `wait_replicas = 1`": lambda: _measured(redis(wait_replicas=1, timeout=1500)),
    "PostgreSQL, asynchronous": lambda: _measured(postgres(synchronous=False)),
    "PostgreSQL, synchronous": lambda: _measured(postgres(synchronous=True)),
    "MariaDB, asynchronous": lambda: _measured(mysql(semi_synchronous=False)),
    "MariaDB, semi-synchronous": lambda: _measured(mysql(semi_synchronous=True)),
}


def _measured(made: Any, seconds: float = AFTER_CUT) -> Loss:
    with made as pair:
        return measure(pair, seconds)


def table(losses: dict[str, Loss]) -> str:
    """As the page has it."""
    head = "| | acknowledged | after the cut | unknown | lost |\n|---|---:|---:|---:|---:|\n"
    rows = (
        f"| {name} | {loss.acknowledged} | {loss.after_cut} | {loss.unknown} | {loss.lost} |\n"
        for name, loss in losses.items()
    )
    return head + "".join(rows)


if __name__ == "__main__":
    made = table({name: drill() for name, drill in DRILLS.items()})
    PAGE.write_text(MARK.sub(lambda mark: f"{mark[1]}{made}{mark[2]}", PAGE.read_text()))
    print(made)
