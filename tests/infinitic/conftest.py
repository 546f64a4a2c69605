"""Deployments of Infinitic on servers that a test starts, and storages that read them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any

import pytest
import statekeep
from statekeep import Storage
from statekeep.errors import Unsupported
from statekeep.layers.base import innermost

from tests.infinitic.deployments import (
    Deployment,
    MysqlDeployment,
    PostgresDeployment,
    RedisDeployment,
)
from tests.servers.mysql import MysqlProcess
from tests.servers.postgres import PostgresProcess
from tests.servers.redis import RedisProcess

Open = Callable[..., Storage]
Deploy = Callable[..., Deployment]

DATABASES = count(1)


def source_of(storage: Storage) -> Any:
    """The source below the layers."""
    return innermost(storage.backend)


def refuses_keys(storage: Storage, deployment: Deployment, *keys: str) -> None:
    """That a scan names each of these keys, of a value and of a set, as one it cannot hold."""
    for key in keys:
        deployment.put({key: (b"x", 1)})
        with pytest.raises(Unsupported, match="cannot hold the value '"):
            list(storage.values.scan())
        deployment.delete(key)
        deployment.add(key, [b"x"])
        with pytest.raises(Unsupported, match="cannot hold the set '"):
            list(storage.sets.scan())
        deployment.remove(key, [b"x"])


def refuses_members(storage: Storage, deployment: Deployment, *members: bytes) -> None:
    """That both ways of reading a set name it, where it has one of these members."""
    for member in members:
        deployment.add("set", [member])
        for read in (lambda: storage.sets.members("set"), lambda: list(storage.sets.pages("set"))):
            with pytest.raises(Unsupported, match="of the set 'set'"):
                read()
        deployment.remove("set", [member])


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresProcess]:
    """A server; each test has a schema of its own."""
    with PostgresProcess() as process:
        yield process


@pytest.fixture(scope="session")
def mysql() -> Iterator[MysqlProcess]:
    """A server; each test has a database of its own."""
    with MysqlProcess() as process:
        yield process


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisProcess]:
    """A server; each test has a numbered database of its own."""
    with RedisProcess({"databases": "400"}) as process:
        yield process


@pytest.fixture
def deploy(request: pytest.FixtureRequest) -> Iterator[Deploy]:
    """Makes deployments: `deploy("mysql", versions=False)`; lets go of them after the test."""
    with ExitStack() as stack:
        yield partial(_made, request, stack)


@pytest.fixture(scope="class")
def lasting(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """The one that a class asks for, for all its tests."""
    with ExitStack() as stack:
        yield _made(request, stack, request.cls.database, **request.cls.options)


def _made(
    request: pytest.FixtureRequest, stack: ExitStack, kind: str, **options: Any
) -> Deployment:
    server = request.getfixturevalue(kind)
    name = f"t{uuid.uuid4().hex[:12]}"
    made: Any
    if kind == "redis":
        made = RedisDeployment(server, next(DATABASES), **options)
    elif kind == "mysql":
        made = MysqlDeployment(server, name, **options)
    else:
        made = PostgresDeployment(server, name, **options)
    stack.callback(made.client.close)
    return made


@pytest.fixture(params=["postgres", "mysql", "redis"])
def deployment(request: pytest.FixtureRequest, deploy: Deploy) -> Deployment:
    """An empty one of each kind in turn."""
    return deploy(request.param)


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens what reads a deployment: `opened(deployment, undecodable="as_stored")`."""
    with ExitStack() as stack:

        def make(deployment: Deployment, **options: Any) -> Storage:
            url = deployment.url
            for name, value in options.items():
                url += f"{'&' if '?' in url else '?'}{name}={value}"
            return stack.enter_context(statekeep.open(url))

        yield make
