"""A real server for all tests of the plugin that do not harm it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.mysql import MysqlProcess


@pytest.fixture(scope="session")
def server() -> Iterator[MysqlProcess]:
    """One server for the whole session: tests use names or databases of their own in it."""
    with MysqlProcess() as server:
        yield server
