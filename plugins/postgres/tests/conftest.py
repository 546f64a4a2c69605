"""A real server for all tests of the plugin that do not harm it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.postgres import PostgresProcess


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresProcess]:
    """One server for the whole session: tests use names or schemas of their own in it."""
    with PostgresProcess() as server:
        yield server
