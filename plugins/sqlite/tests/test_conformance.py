"""SQLite keeps the whole contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from statekeep.backend import Backend
from statekeep.testing import BackendConformance
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend


def opened(path: Path) -> Backend:
    backend = SqliteBackend(SqliteConfig(path=str(path)))
    backend.setup()
    return backend


class TestSqlite(BackendConformance):
    """The file is on the disk, and written through to it."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Callable[[], Backend]:
        return partial(opened, tmp_path / "state.db")

    @pytest.fixture
    def clocked(self, tmp_path: Path) -> Callable[[Callable[[], int]], Backend]:
        def make(clock: Callable[[], int]) -> Backend:
            backend = SqliteBackend(SqliteConfig(path=str(tmp_path / "clocked.db")), clock)
            backend.setup()
            return backend

        return make
