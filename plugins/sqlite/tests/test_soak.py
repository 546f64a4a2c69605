"""Longer campaigns: `make soak`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from statekeep.backend import Backend
from statekeep.testing.crash import CrashTests
from statekeep.testing.interrupts import InterruptsTests

from plugins.sqlite.tests.test_conformance import opened


@pytest.mark.soak
class TestSqliteSoak(CrashTests, InterruptsTests):
    """A writer killed a hundred times, by `kill -9`, at random instants."""

    crashes = 100

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Callable[[], Backend]:
        return partial(opened, tmp_path / "state.db")
