"""Fresh stores of every backend, on servers that are started once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import Storage

from tests.mysql.opening import APP
from tests.servers.mysql import MysqlProcess
from tests.servers.postgres import PostgresProcess
from tests.servers.redis import RedisProcess

Config = dict[str, Any]
Fresh = Callable[[str], Config]
Open = Callable[..., Storage]

BACKENDS = ("memory", "sqlite", "redis", "postgres", "mysql")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisProcess]:
    """Shared by all tests that leave it as it was."""
    with RedisProcess() as process:
        yield process


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresProcess]:
    """The same."""
    with PostgresProcess() as process:
        yield process


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MysqlProcess]:
    """The same."""
    with MysqlProcess() as process:
        yield process


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Fresh:
    """The config of a store of a backend that nobody has used."""

    def make(backend: str) -> Config:
        name = f"t{uuid.uuid4().hex[:12]}"
        if backend == "memory":
            return {"memory": {}}
        if backend == "sqlite":
            return {"sqlite": {"path": str(tmp_path / f"{name}.db")}}
        server = request.getfixturevalue(f"{backend}_server")
        where = {"host": "127.0.0.1", "port": server.port}
        if backend == "redis":
            return {"redis": {**where, "prefix": f"{name}:"}}
        if backend == "postgres":
            return {"postgres": {**where, "minimum_idle": 0, "schema": name}}
        return {"mysql": {**APP, **where, "minimum_idle": 0, "database": name}}

    return make


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens storages and closes them after the test."""
    with ExitStack() as stack:
        yield lambda source, **more: stack.enter_context(statekeep.open(source, **more))


@pytest.fixture
def memories(opened: Open) -> tuple[Storage, Storage]:
    """Two empty stores."""
    return opened("memory:"), opened("memory:")
