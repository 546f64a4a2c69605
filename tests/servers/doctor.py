"""Runs `statekeep doctor` in this process, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from statekeep.cli.app import app
from typer.testing import CliRunner


class Ran:
    """What came of it."""

    def __init__(self, code: int, out: str) -> None:
        self.code, self.out = code, out
        self.findings: list[dict[str, str]] = [json.loads(line) for line in out.splitlines()]

    @property
    def problems(self) -> list[dict[str, str]]:
        """The findings that are one."""
        return [each for each in self.findings if each["severity"] == "problem"]

    def one(self, check: str) -> dict[str, str]:
        """The only finding of a check."""
        (found,) = [each for each in self.findings if each["check"] == check]
        return found


def doctor(backend: str, *arguments: str, **options: Any) -> Ran:
    """The findings for a backend with these options; each must be one that a page explains."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "c.json"
        config.write_text(json.dumps({"storage": {backend: options}}))
        line = ["doctor", "--json", "--rounds", "3", "--config", str(config), *arguments]
        done = CliRunner().invoke(app, line)
    assert done.exit_code in (0, 1), done.output
    ran = Ran(done.exit_code, done.stdout)
    assert bool(ran.problems) == bool(done.exit_code)
    return ran
