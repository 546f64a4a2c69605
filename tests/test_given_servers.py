"""The conformance kit runs against servers named in the environment, where none can be started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.install import SERVERS, Missing, _install, variable
from tests.servers.mysql import MysqlProcess
from tests.servers.postgres import PostgresProcess
from tests.servers.redis import RedisProcess

ROOT = Path(__file__).parents[1]
CLASSES = {"redis": "TestOneServer", "postgres": "TestPostgres", "mysql": "TestMysql"}


@pytest.fixture(params=list(SERVERS))
def given(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A backend, and the URL of a server for it that the test run below has not started."""
    kind = {"redis": RedisProcess, "postgres": PostgresProcess, "mysql": MysqlProcess}
    with kind[request.param]() as server:
        yield request.param, f"{request.param}://127.0.0.1:{server.port}"


def test_the_kit_runs_against_a_given_server(given: tuple[str, str]) -> None:
    name, url = given
    kit = f"plugins/{name}/tests/test_conformance.py::{CLASSES[name]}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", kit, "-k", "conditions or versions_of"],
        cwd=ROOT,
        env={**os.environ, variable(name): url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name} as {variable(name)} says" in done.stdout


def test_what_cannot_be_installed_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Missing, match="STATEKEEP_TEST_MYSQL_URL"):
        _install("mariadbd")
