"""A password that a command prints: what is taken, what is refused, and what nobody gets to see."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from statekeep import passwords
from statekeep.errors import AccessDenied, ConfigError
from statekeep.options import OptionError
from statekeep.passwords import command_problem, one_way, printed, words


def script(text: str) -> list[str]:
    """A command that runs a Python text."""
    return [sys.executable, "-c", text]


def test_the_line_that_a_command_prints_is_the_password() -> None:
    """Without the end of the line; blanks belong to it, and no shell looks at the arguments."""
    assert printed(script("print(' open sésame ')"), "x") == " open sésame "
    assert printed(["echo", "$HOME;", "*"], "x") == "$HOME; *"
    assert printed("echo 'two words' three", "x") == "two words three"
    assert printed(["printf", "without-end"], "x") == "without-end"


def test_it_is_run_each_time(tmp_path: Path) -> None:
    """A secret that was changed is seen by the next call."""
    file = tmp_path / "secret"
    for secret in ("one", "two"):
        file.write_text(secret)
        assert printed(["cat", str(file)], "x") == secret


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("pass", "printed nothing"),
        ("print()", "printed nothing"),
        ("print('hush'); print('more')", "printed several lines"),
        ("import sys; sys.stdout.buffer.write(b'hush' + bytes([255]))", "no text in UTF-8"),
    ],
)
def test_what_is_no_password_is_refused(text: str, problem: str) -> None:
    """AccessDenied says which command and why, and nothing of what it printed."""
    with pytest.raises(AccessDenied, match=f"storage.x.password_command: .*{problem}") as caught:
        printed(script(text), "storage.x.password_command")
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_complaint_of_a_command_is_shown_without_the_secret() -> None:
    """What it wrote to its standard error, shortened; what it printed is starred out of it."""
    text = "import sys; print('hush'); print('sealed: hush', file=sys.stderr); sys.exit(1)"
    with pytest.raises(AccessDenied, match=r"ended with code 1: sealed: \*\*\*") as caught:
        printed(script(text), "x")
    assert "hush" not in str(caught.value)


def test_a_program_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    """Also one that may not be run."""
    with pytest.raises(ConfigError, match="'/no/such' cannot be run: No such file"):
        printed(["/no/such"], "x")
    plain = tmp_path / "plain"
    plain.touch(0o600)
    with pytest.raises(ConfigError, match="cannot be run: Permission denied"):
        printed([str(plain)], "x")


def test_a_command_that_hangs_is_ended_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within the limit, although a grandchild holds the pipe; and none of them is left."""
    monkeypatch.setattr(passwords, "SECONDS", 0.5)
    note = tmp_path / "pid"
    text = (
        "import pathlib, subprocess; child = subprocess.Popen(['sleep', '60']); "
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid)); child.wait()"
    )
    started = time.monotonic()
    with pytest.raises(AccessDenied, match=r"took longer than 0\.5 s"):
        printed(script(text), "x")
    assert time.monotonic() - started < 20
    deadline = time.monotonic() + 10
    while _lives(int(note.read_text())):
        assert time.monotonic() < deadline, "the grandchild goes on"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize("command", [[], "", " ", [""], [1], 5, {"a": 1}, ["a\0"], "open 'quote"])
def test_what_is_no_command_is_refused(command: Any) -> None:
    """Before anything is run."""
    assert "must be a program and its arguments" in (command_problem(command) or "")


def test_a_command_is_a_list_or_a_text() -> None:
    """The text is split as a shell splits it."""
    assert words(["a", "b c"]) == words("a 'b c'") == ("a", "b c")
    assert command_problem(("a",)) is None


def test_a_password_is_said_in_one_way() -> None:
    """Two ways are refused, and both are named."""

    @frozen
    class Config:
        password: str | None = None
        password_command: Any = None

    one_way(Config("x"))
    with pytest.raises(OptionError, match="password_command: cannot be .* with password"):
        one_way(Config("x", ["cat"]))
