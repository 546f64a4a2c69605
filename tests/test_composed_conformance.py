"""The layers keep the contract too: the whole kit, over what `statekeep.open` composes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from statekeep import Backend
from statekeep.compose import assemble
from statekeep.config import load
from statekeep.testing import BackendConformance, Opener


def composed(config: Mapping[str, Any]) -> Backend:
    backend = assemble(load(config))
    backend.setup()
    return backend


class TestCompressedMemory(BackendConformance):
    """Every value through an envelope and gzip."""

    @pytest.fixture
    def opener(self) -> Opener:
        config = {"memory": {}, "compression": {"name": "gzip", "level": 1, "min_size": 0}}
        return partial(composed, config)


class TestCachedMemory(BackendConformance):
    """Every read through a cache that is smaller than what it caches."""

    @pytest.fixture
    def opener(self) -> Opener:
        bounds = {"maximum_size": 20, "expire_after_access": 60}
        return partial(composed, {"memory": {}, "cache": {"key_value": bounds, "key_set": bounds}})


class TestEnvelopedSqlite(BackendConformance):
    """As `statekeep.open("sqlite:///...")` composes it."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        config = {"sqlite": {"path": str(tmp_path / "state.db")}, "compression": "deflate"}
        return partial(composed, config)


class TestCachedZstdSqlite(BackendConformance):
    """Cache over compression over a durable store: everything at once."""

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        bounds = {"maximum_size": 50, "maximum_bytes": 100_000, "expire_after_write": 60}
        config = {
            "sqlite": {"path": str(tmp_path / "state.db")},
            "compression": {"name": "zstd", "min_size": 0},
            "cache": {"key_value": bounds},
        }
        return partial(composed, config)
