"""docs/cli.md says what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from statekeep.cli.app import app
from statekeep.cli.exits import MEANINGS
from typer.main import get_command

PAGE = Path(__file__).parents[3] / "docs/cli.md"


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_is_documented_with_its_options(path: tuple[str, ...]) -> None:
    """A heading for the command; its options in the text below."""
    page = PAGE.read_text()
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    assert any(f"`{' '.join(path)}`" in line for line in headings), path
    for parameter in ALL[path].params:
        for option in parameter.opts:
            assert not option.startswith("--") or f"`{option}" in page, option


def test_every_exit_code_is_documented() -> None:
    """With its meaning, and no other one."""
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {str(code): meaning for code, meaning in MEANINGS.items()}


def test_every_command_has_a_help_text_for_everything() -> None:
    """So has every option."""
    for path, command in ALL.items():
        assert command.help, path
        for parameter in command.params:
            assert parameter.opts[0][:2] != "--" or parameter.help, (path, parameter.name)
