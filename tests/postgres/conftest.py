"""Storages on servers that a test starts, each test in a schema of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import statekeep
from statekeep import Storage

from tests.servers import certificates
from tests.servers.postgres import SAFE, PostgresProcess
from tests.servers.proxy import Proxy

Open = Callable[..., Storage]


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresProcess]:
    """A server for tests that leave it as it was, but for their own schema."""
    with PostgresProcess() as process:
        yield process


@pytest.fixture
def own() -> Iterator[PostgresProcess]:
    """A server that a test may break; what it acknowledged is on the disk."""
    with PostgresProcess(SAFE) as process:
        yield process


@pytest.fixture
def proxy(server: PostgresProcess) -> Iterator[Proxy]:
    """A way to the shared server that a test may break."""
    with Proxy(server.address) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """Certificates of this run."""
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def schema() -> str:
    """The schema of this test."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def opened(schema: str) -> Iterator[Open]:
    """Opens storages: `opened(server, maximum_pool_size=2)`; closes them after the test.

    They keep no idle connections ready, so that a test sees only those that it asked for.
    """
    with ExitStack() as stack:

        def make(server: PostgresProcess | Proxy | None = None, **options: Any) -> Storage:
            where = {"host": "127.0.0.1", "port": server.port} if server else {}
            given = {"schema": schema, "minimum_idle": 0, **where, **options}
            return stack.enter_context(statekeep.open({"postgres": given}))

        yield make
