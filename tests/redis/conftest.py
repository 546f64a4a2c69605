"""Storages on servers that a test starts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import statekeep
from statekeep import Storage

from tests.servers import certificates
from tests.servers.redis import RedisProcess

Open = Callable[..., Storage]


@pytest.fixture(scope="session")
def server() -> Iterator[RedisProcess]:
    """A server for tests that leave it as it was, but for their own prefix."""
    with RedisProcess() as process:
        yield process


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    """Certificates of this run."""
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens storages: `opened(server, timeout=500)`; closes them after the test."""
    with ExitStack() as stack:

        def make(server: RedisProcess | None = None, **options: Any) -> Storage:
            where = {"host": "127.0.0.1", "port": server.port} if server else {}
            return stack.enter_context(statekeep.open({"redis": {**where, **options}}))

        yield make


@pytest.fixture
def prefix() -> str:
    """A prefix of this test's own."""
    return f"t{uuid.uuid4().hex[:12]}:"
