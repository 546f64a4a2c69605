"""What a plugin author meets of the kit besides its tests."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from statekeep.testing import BackendConformance
from statekeep.testing.children import run_processes
from statekeep.testing.forks import in_child
from statekeep.testing.support import in_threads


def kit_tests() -> dict[str, object]:
    """Every test function by name."""
    return dict(inspect.getmembers(BackendConformance, inspect.isfunction))


def test_every_test_says_what_it_holds() -> None:
    """Each has a sentence, and its module's topic in its name."""
    tests = {n: f for n, f in kit_tests().items() if n.startswith("test_")}
    assert len(tests) >= 150
    for name, function in tests.items():
        assert function.__doc__, name
        topic = function.__module__.rpartition(".")[2]  # type: ignore[attr-defined]
        assert name.split("_")[1] in topic, f"{name} in {topic}"


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_missing_libraries_are_named(missing: str) -> None:
    """Without the extra, importing the kit says how to install it."""
    code = f"import sys; sys.modules[{missing!r}] = None\nimport statekeep.testing"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert 'pip install "statekeep[testing]"' in run.stderr


def test_the_kit_needs_no_configuration(tmp_path: Path) -> None:
    """With strict markers and warnings as errors, a subclass of a few lines runs."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\nfilterwarnings = error\n"
    )
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "from statekeep.testing import BackendConformance\n"
        "from statekeep_memory.backend import MemoryBackend\n"
        "class TestMine(BackendConformance):\n"
        "    @pytest.fixture\n"
        "    def opener(self): return MemoryBackend\n"
        "class TestForgotten(BackendConformance):\n"
        "    pass\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-k", "lifecycle_ping"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in run.stdout and "1 error" in run.stdout, run.stdout
    assert "TestForgotten must override the fixture `opener`" in run.stdout


def test_threads_that_hang_are_given_up() -> None:
    """A deadlock ends the test and not the run."""
    never = threading.Event()
    with pytest.raises(AssertionError, match="did not end"):
        in_threads([lambda: True, lambda: never.wait(20)], 0.3)
    never.set()


def test_errors_of_threads_are_raised() -> None:
    """An assertion that fails in a thread fails the test."""
    with pytest.raises(ZeroDivisionError):
        in_threads([lambda: 1.0, lambda: 1 / 0], 10)


def test_errors_of_processes_are_raised() -> None:
    """With their traceback."""
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_processes(divmod, [(1, 1), (1, 0)], 30)


def test_processes_that_die_are_reported() -> None:
    """With their exit code."""
    with pytest.raises(AssertionError, match="code 7"):
        run_processes(os._exit, [(7,)], 30)


def test_children_that_hang_or_fail_are_reported() -> None:
    """A fork that hangs is killed, and one that fails tells why."""
    with pytest.raises(AssertionError, match="hung"):
        in_child(lambda: time.sleep(20), 0.3)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        in_child(lambda: divmod(1, 0) and None, 20)
