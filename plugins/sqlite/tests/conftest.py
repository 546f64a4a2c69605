"""What the tests of the SQLite backend share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from statekeep.storage import Storage
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend

Open: TypeAlias = Callable[..., Storage]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database file of this test is."""
    return tmp_path / "state.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens and sets up storages over `path`, with the options given; all are closed again."""
    storages: list[Storage] = []

    def open_one(clock: Any = None, **options: Any) -> Storage:
        config = SqliteConfig(**{"path": str(path), **options})
        backend = SqliteBackend(config, clock) if clock else SqliteBackend(config)
        storages.append(Storage(backend))
        backend.setup()
        return storages[-1]

    yield open_one
    for storage in storages:
        storage.close()
