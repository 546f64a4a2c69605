"""Storages on servers that a test starts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import statekeep
from statekeep import Storage

from tests.mysql.opening import APP
from tests.servers import certificates
from tests.servers.mysql import FAST, MysqlProcess, own

Open = Callable[..., Storage]


@pytest.fixture(scope="session")
def server() -> Iterator[MysqlProcess]:
    """A server for tests that leave it as it was, but for names of their own."""
    with MysqlProcess() as process:
        yield process


@pytest.fixture(scope="session")
def pem() -> Iterator[certificates.Certificates]:
    """Certificates of this run, readable by the server."""
    with TemporaryDirectory(prefix="statekeep-mysql-") as folder:
        found = certificates.make(Path(folder))
        own(found.key)
        found.key.parent.chmod(0o755)
        yield found


@pytest.fixture(scope="session")
def secure(pem: certificates.Certificates) -> Iterator[MysqlProcess]:
    """A server that takes nobody in without TLS over the network."""
    options = {
        **FAST, "ssl_ca": str(pem.ca), "ssl_cert": str(pem.cert), "ssl_key": str(pem.key),
        "require_secure_transport": "ON",
    }  # fmt: skip
    with MysqlProcess(options) as process:
        yield process


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens storages: `opened(server, lock_timeout=1000)`; closes them after the test."""
    with ExitStack() as stack:

        def make(server: MysqlProcess | None = None, **options: Any) -> Storage:
            where = {"host": "127.0.0.1", "port": server.port} if server else {}
            config = {"minimum_idle": 0, **APP, **where, **options}
            return stack.enter_context(statekeep.open({"mysql": config}))

        yield make


@pytest.fixture
def prefix() -> str:
    """A prefix of this test's own."""
    return f"t{uuid.uuid4().hex[:12]}:"


@pytest.fixture
def database() -> str:
    """A database of this test's own."""
    return f"d{uuid.uuid4().hex[:12]}"
