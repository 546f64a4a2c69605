"""The conformance kit against a real server: over TCP, and behind PgBouncer."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from statekeep.testing import BackendConformance
from statekeep.testing.support import Opener

from tests.postgres.opening import open_postgres
from tests.servers.opening import given_opener
from tests.servers.postgres import Bouncer, PostgresProcess


class TestPostgres(BackendConformance):
    """Everything, with prepared statements."""

    @pytest.fixture
    def opener(self, request: pytest.FixtureRequest) -> Opener:
        if found := given_opener("postgres"):
            return found
        server: PostgresProcess = request.getfixturevalue("server")
        return functools.partial(open_postgres, {"host": "127.0.0.1", "port": server.port})


@pytest.fixture(scope="module")
def bouncer(server: PostgresProcess) -> Iterator[Bouncer]:
    """Three connections to the server, for however many clients."""
    with Bouncer(server) as bouncer:
        yield bouncer


class TestBehindPgBouncer(BackendConformance):
    """In transaction mode, with nothing that outlives a transaction; the longest part shortened."""

    stateful_examples = 10

    @pytest.fixture
    def opener(self, bouncer: Bouncer) -> Opener:
        where = {"host": "127.0.0.1", "port": bouncer.port, "prepared_statements": False}
        return functools.partial(open_postgres, where)
