"""The conformance kit against a real server: over TCP, and over its unix socket."""

from __future__ import annotations

import functools

import pytest
from statekeep.testing import BackendConformance
from statekeep.testing.support import Opener

from tests.mysql.opening import open_mysql
from tests.servers.mysql import MysqlProcess


class TestMysql(BackendConformance):
    """Everything."""

    @pytest.fixture
    def opener(self, server: MysqlProcess) -> Opener:
        return functools.partial(open_mysql, {"host": "127.0.0.1", "port": server.port})
