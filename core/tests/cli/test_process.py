"""What only a process shows: pipes, exit codes, interrupts, a missing extra, a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import statekeep

COMMAND = [sys.executable, "-m", "statekeep.cli"]


def on_a_terminal(*arguments: str, **env: str) -> str:
    """What a command line shows where stdin, stdout and stderr are a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            COMMAND[0],
            [*COMMAND, *arguments],
            {**os.environ, "TERM": "xterm", "COLUMNS": "100", **env},
        )
    shown = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def many() -> None:
    """More than any pipe holds."""
    with statekeep.open() as storage:
        storage.values.put_many({f"key/{'x' * 200}/{number}": b"v" for number in range(3000)})
        storage.values.put("big", bytes(5_000_000))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_binary_through_pipes(process, unbuffered: str) -> None:
    """Five megabytes in and out, buffered or not."""
    data = os.urandom(5_000_000)
    assert process("put", "k", stdin=data).code == 0
    assert process("get", "k", PYTHONUNBUFFERED=unbuffered).raw == data


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("line", [("list",), ("list", "--json"), ("get", "big")])
def test_a_reader_that_goes_away_is_no_error(many, line, unbuffered: str) -> None:
    """As `statekeep list | head -1`: no word on stderr, exit code 141."""
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *line], stdout=pipe, stderr=pipe, env=env) as running:
        assert running.stdout and running.stderr
        assert running.stdout.read(1)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(30) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(many) -> None:
    """One line, exit code 70; never a success."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "list"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (70, b"statekeep: No space left on device\n")


@pytest.mark.parametrize("line", [("put", "k", "v"), ("get", "k"), ("list", "--json"), ("--help",)])
def test_a_closed_stdout(line: tuple[str, ...], elsewhere: Path) -> None:
    """One line and exit code 2: an answer that goes nowhere is none, and nothing is done."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *line]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"stdout is closed" in done.stderr
    assert not list(elsewhere.iterdir())


def test_a_closed_stderr() -> None:
    """The exit code is all that is left."""
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "get", "k"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"gr\\xfc\\xdfe/\\u2603"),
        ("ascii:strict", b"gr\\xfc\\xdfe/\\u2603"),
        ("latin-1", b"gr\xfc\xdfe/\\u2603"),
    ],
)
def test_a_stdout_that_cannot_hold_every_letter(process, encoding: str, shown: bytes) -> None:
    """What it lacks is escaped; JSON and the bytes of a value are as ever."""
    process("put", "grüße/☃", "grüße")
    listed = process("list", PYTHONIOENCODING=encoding)
    assert (listed.code, listed.err) == (0, "")
    assert listed.raw.startswith(shown)
    assert process("list", "--json", PYTHONIOENCODING=encoding).json["key"] == "grüße/☃"
    assert process("get", "grüße/☃", PYTHONIOENCODING=encoding).out == "grüße"
    assert "gr\\xfc\\xdfe" in on_a_terminal("list", PYTHONIOENCODING="ascii")


def test_a_damaged_value(process) -> None:
    """Exit code 5, the key in the line, nothing on stdout."""
    process("put", "k", "v")
    with closing(sqlite3.connect("statekeep.db", isolation_level=None)) as file:
        assert file.execute("UPDATE key_value_storage SET value = x'00'").rowcount == 1
    refused = process("get", "k")
    assert (refused.code, refused.raw, refused.err.count("\n")) == (5, b"", 1)
    assert "'k'" in refused.err
    assert process("get", "k", "--json").error["error"] == "CorruptValue"


def test_a_traceback_only_with_debug(process) -> None:
    """Before or after the command; the line comes last."""
    for line in (("--debug", "put", "k", "v", "--expected=1"), ("put", "k", "v", "--expected=1")):
        refused = process(*line)
        assert refused.code == 3
        assert ("Traceback" in refused.err) == ("--debug" in line)
        assert refused.err.splitlines()[-1].startswith("statekeep: nothing was written: 'k' ")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["lst"], "Did you mean 'list'"),
        (["get"], "Missing argument 'KEY'"),
        (["get", "k", "--nonsense"], "No such option: --nonsense"),
        (["list", "--kind", "nonsense"], "'nonsense' is not one of"),
        (["put", "k", "v", "--expected", "x"], "--expected"),
        (["list", "--config", "none.toml"], "none.toml: there is no such file"),
        (["list", "--url", "nothing:"], "backend 'nothing' is not installed"),
        (["list", "--url", "sqlite:///none/x.db", "--config", "x.toml"], "not both"),
        (["put", "k", "v", "--url", "sqlite:///none/x.db"], "there is no folder"),
        (["get", "k", "--url", f"sqlite:///{'x' * 300}"], "File name too long"),
    ],
)
def test_wrong_usage(process, line: list[str], error: str) -> None:
    """Exit code 2 and one line that names the slip; as JSON where asked."""
    refused = process(*line)
    assert (refused.code, refused.raw, refused.err.count("\n")) == (2, b"", 1)
    assert refused.err.startswith("statekeep: ")
    assert error in refused.err
    assert error in process(*line, "--json").error["message"]


def test_no_arguments_show_the_help(process) -> None:
    """With the exit codes, and code 2, as nothing was done."""
    shown = process()
    assert shown.code == 2
    assert "Exit codes" in shown.out + shown.err
    assert process("--help").code == 0


def test_put_without_a_value_on_a_terminal() -> None:
    """It says what is missing instead of waiting."""
    assert "statekeep: no value: give VALUE" in on_a_terminal("put", "k")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_silent_and_cleans_up(process, number: signal.Signals) -> None:
    """Exit code 130; a check that is interrupted leaves no record."""
    process("check", "--create", "--rounds", "1")
    running = subprocess.Popen(
        [*COMMAND, "check", "--rounds", "10000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert running.stdout
        for shown in running.stdout:
            if b"set contains" in shown:  # from here on it writes
                break
        running.send_signal(number)
        _, err = running.communicate(timeout=30)
    finally:
        running.kill()
    assert (running.returncode, err) == (130, b"")
    for kind in ("values", "sets", "deferred"):
        assert process("list", "--kind", kind).raw == b""


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    """One line that says what to install, exit code 2."""
    code = f"import sys; sys.modules['{missing}'] = None; import statekeep.cli as cli; " + (
        "sys.exit(cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b'run: pip install "statekeep[cli]"\n'


def test_importing_the_command_line_imports_neither_typer_nor_rich() -> None:
    """So that the entry point can say what is missing; and `rich` waits for a terminal."""
    code = (
        "import sys, statekeep.cli; assert not {'typer', 'rich'} & set(sys.modules)\n"
        "import statekeep.cli.app; assert 'statekeep.config' not in sys.modules\n"
        "assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tables_and_text_on_a_terminal(process) -> None:
    """Headings, and a value with a line end of its own; nothing of that in a pipe."""
    process("put", "text", "grüße")
    process("put", "binary", "-", stdin=b"\x00\xffabc")
    listed = on_a_terminal("list")
    assert "VERSION" in listed
    assert "\x1b[1m" in listed
    assert on_a_terminal("get", "text") == "grüße\n"
    assert "5 bytes, not text" in on_a_terminal("get", "binary")
    assert "00 ff 61 62 63" in on_a_terminal("get", "binary")
    assert "deleted text" in on_a_terminal("delete", "text")
    assert on_a_terminal("get", "binary", "--json").startswith('{"key": "binary"')


def test_no_colour(process) -> None:
    """`NO_COLOR` takes the colours away; bold stays, as rich reads that convention."""
    process("put", "k", "v")
    assert "\x1b[3" not in on_a_terminal("list", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal("list", TERM="dumb")


def test_a_value_cannot_act_on_the_terminal(process) -> None:
    """Escape sequences in values and keys are shown, not sent."""
    process("put", "k\x1b[31m", "a\x1b[2Jb")
    assert on_a_terminal("get", "k\x1b[31m") == "a\\x1b[2Jb\n"
    assert "\x1b[31m" not in on_a_terminal("list")


def test_shell_completion(process) -> None:
    """The script of a shell, and what it calls."""
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # there may be none above us
    assert "_STATEKEEP_COMPLETE" in process("--show-completion", "bash", **named).out
    found = process(_STATEKEEP_COMPLETE="complete_bash", COMP_WORDS="statekeep de", COMP_CWORD="1")
    assert found.lines == ["delete", "deferred"]


def test_a_long_list_needs_little_memory(many) -> None:
    """Ten times the records do not take ten times the memory: pages, not lists."""
    code = (
        "import resource, sys; from statekeep.cli.app import run; run(['list', *sys.argv[1:]]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    with statekeep.open() as storage:
        storage.values.delete("big")
        for start in range(0, 60_000, 5000):
            storage.values.put_many(
                {f"more/{start + number:07}": bytes(400) for number in range(5000)}
            )
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, "--limit", limit], capture_output=True, timeout=120
            ).stderr
        )
        for limit in ("1000", "60000")
    ]
    assert peaks[1] - peaks[0] < 10_000, f"{peaks} KiB"
