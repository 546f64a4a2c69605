"""Two ways to run a command line: in this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from statekeep.cli.app import app
from typer.testing import CliRunner

VARIABLES = ("STATEKEEP_CONFIG", "STATEKEEP_URL")


@frozen
class Ran:
    """What came of a command line."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        (line,) = self.lines
        return json.loads(line)

    @property
    def jsons(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def error(self) -> Any:
        return json.loads(self.err)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, and nothing in the environment that names a config."""
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def run() -> Callable[..., Ran]:
    """Runs a command line in this process, over the embedded default: SQLite in the folder."""

    def invoke(*arguments: str, stdin: bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Ran(result.exit_code, result.stdout_bytes, result.stderr)

    return invoke


@pytest.fixture
def process() -> Callable[..., Ran]:
    """Runs a command line as a process, with pipes."""

    def start(*arguments: str, stdin: bytes = b"", **env: str) -> Ran:
        command = [sys.executable, "-m", "statekeep.cli", *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, env={**os.environ, **env}, timeout=60
        )
        return Ran(done.returncode, done.stdout, done.stderr.decode())

    return start
