"""Servers for the tests of `statekeep.aio`; each test has a place of its own in them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aio.lanes import handed_to_threads
from tests.mysql.opening import APP
from tests.servers import mysql
from tests.servers.mysql import MysqlProcess
from tests.servers.postgres import SAFE, PostgresProcess
from tests.servers.redis import RedisProcess

Config = dict[str, Any]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisProcess]:
    with RedisProcess() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresProcess]:
    with PostgresProcess() as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MysqlProcess]:
    with MysqlProcess() as server:
        yield server


@pytest.fixture
def handed() -> Iterator[list[str]]:
    """See `handed_to_threads`."""
    with handed_to_threads() as lanes:
        yield lanes


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Callable[[str], Config]:
    """Makes a place of this test's own, on a server of this machine."""

    def place(name: str) -> Config:
        own = f"t{uuid.uuid4().hex[:12]}"
        where = {"host": "127.0.0.1", "port": request.getfixturevalue(f"{name}_server").port}
        if name == "redis":
            return {"redis": {**where, "prefix": f"{own}:"}}
        if name == "mysql":
            return {"mysql": {**APP, **where, "database": own, "minimum_idle": 0}}
        return {"postgres": {**where, "schema": own, "minimum_idle": 0}}

    return place


@pytest.fixture(params=["redis", "postgres", "mysql", "sqlite"])
def config(
    request: pytest.FixtureRequest, tmp_path: Path, server: Callable[[str], Config]
) -> Config:
    """A place of this test's own, on a server of this machine or in a file."""
    if request.param == "sqlite":
        return {"sqlite": {"path": str(tmp_path / "state.db"), "busy_timeout": 20_000}}
    return server(request.param)


@pytest.fixture(params=["redis", "postgres", "mysql"])
def mortal(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Config]]:
    """A server that keeps what it acknowledged over a kill, and its config."""
    if request.param == "redis":
        options = {"appendonly": "yes", "appendfsync": "always"}
        with RedisProcess(options) as server:
            yield server, {"redis": {"host": "127.0.0.1", "port": server.port}}
    elif request.param == "mysql":
        with MysqlProcess(mysql.SAFE) as process:
            where = {**APP, "host": "127.0.0.1", "port": process.port}
            yield process, {"mysql": {**where, "minimum_idle": 0}}
    else:
        with PostgresProcess(SAFE) as postgres:
            where = {"host": "127.0.0.1", "port": postgres.port}
            yield postgres, {"postgres": {**where, "minimum_idle": 0}}
