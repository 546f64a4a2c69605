"""The conformance kit against a real server, and once more with all that is long in pieces."""

from __future__ import annotations

import functools

import pytest
from statekeep.testing import BackendConformance
from statekeep.testing.support import Clocked, Opener
from statekeep_mysql import literals

from tests.mysql.opening import open_clocked, open_in_pieces, open_mysql
from tests.servers.mysql import MysqlProcess
from tests.servers.opening import given_opener


class TestMysql(BackendConformance):
    """Everything."""

    @pytest.fixture
    def opener(self, request: pytest.FixtureRequest) -> Opener:
        if found := given_opener("mysql"):
            return found
        server: MysqlProcess = request.getfixturevalue("server")
        return functools.partial(open_mysql, {"host": "127.0.0.1", "port": server.port})

    @pytest.fixture
    def clocked(self, server: MysqlProcess) -> Clocked:
        where = {"host": "127.0.0.1", "port": server.port}
        return functools.partial(open_clocked, where)


class TestMysqlInPieces(BackendConformance):
    """What one statement or packet cannot hold: the same promises, in several of them."""

    @pytest.fixture
    def opener(self, server: MysqlProcess, monkeypatch: pytest.MonkeyPatch) -> Opener:
        monkeypatch.setattr(literals, "MOST_CHARACTERS", literals.MOST_CHARACTERS)  # put back
        where = {"host": "127.0.0.1", "port": server.port, "database": "in pieces"}
        return functools.partial(open_in_pieces, where)
