"""Storages that are observed, each with a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import statekeep
from prometheus_client import CollectorRegistry
from statekeep import Storage

from tests.servers.redis import RedisProcess

Open = Callable[..., Storage]


@pytest.fixture(scope="session")
def server() -> Iterator[RedisProcess]:
    """A server for tests that leave it as it was."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry for one test."""
    return CollectorRegistry()


@pytest.fixture
def observed(registry: CollectorRegistry, tmp_path: Path) -> Iterator[Open]:
    """Opens storages that are observed: `observed("sqlite", port=9464)`; closes them at the end.

    A second argument replaces the options of the backend; nothing is counted in the background
    unless `count_interval` says so.
    """
    with ExitStack() as stack:

        def make(
            backend: str = "sqlite", options: dict[str, Any] | None = None, **prometheus: Any
        ) -> Storage:
            if options is None:
                options = {"path": str(tmp_path / "state.db")} if backend == "sqlite" else {}
            prometheus = {"registry": registry, "count_interval": 0, **prometheus}
            config = {
                "backend": backend,
                backend: options,
                "compression": {"name": "gzip", "min_size": 0},
                "cache": {"key_value": {"maximum_size": 100}},
                "observers": {"prometheus": prometheus},
            }
            return stack.enter_context(statekeep.open(config))

        yield make
