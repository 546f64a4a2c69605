"""The conformance kit against a real server: over TCP, and behind PgBouncer."""

from __future__ import annotations

import functools

import pytest
from statekeep.testing import BackendConformance
from statekeep.testing.support import Opener

from tests.postgres.opening import open_postgres
from tests.servers.postgres import PostgresProcess


class TestPostgres(BackendConformance):
    """Everything, with prepared statements."""

    @pytest.fixture
    def opener(self, server: PostgresProcess) -> Opener:
        return functools.partial(open_postgres, {"host": "127.0.0.1", "port": server.port})
