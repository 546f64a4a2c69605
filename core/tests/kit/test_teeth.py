"""The kit has teeth: it passes sound backends and fails every planted defect, by name."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import filestore  # noqa: E402
import planted  # noqa: E402
import posting  # noqa: E402, F401  # adds its defects to those

DEFECTS = {name: test for name, (_, test) in {**planted.DEFECTS, **filestore.DEFECTS}.items()}
SOUND = ["SoundMemory", "SoundFile"]
SECONDS = 240

Results = dict[str, dict[str, str]]


def start(folder: Path, cases: list[str]) -> subprocess.Popen[str]:
    """Begins a run of pytest that leaves `report.xml` in the folder."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    options = ["-c", "pytest.ini", "-p", "no:cacheprovider", "-q", "--tb=line", "-k", "not heavy"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, "--junitxml=report.xml"]
        + [f"{HERE / 'cases.py'}::Test{case}" for case in cases],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read(report: Path) -> Results:
    """What each test came to, by class and name."""
    found: Results = defaultdict(dict)
    for case in ET.parse(report).iter("testcase"):
        kind = case.get("classname", "").rpartition(".")[2].removeprefix("Test")
        problems = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[kind][case.get("name", "")] = problems[0] if problems else "passed"
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One run of what is defective beside one of what is sound."""
    folder = tmp_path_factory.mktemp("teeth")
    runs = {
        "defective": start(folder / "defective", [f"{n}::{test}" for n, test in DEFECTS.items()]),
        "sound": start(folder / "sound", [*SOUND, "SoundPosting"]),
    }
    found: Results = {}
    try:
        for name, run in runs.items():
            output, _ = run.communicate(timeout=SECONDS)
            report = folder / name / "report.xml"
            assert report.exists() and run.returncode in (0, 1), output[-3000:]
            found |= read(report)
    finally:
        for run in runs.values():
            run.kill()
            run.communicate()
    return found


@pytest.mark.xdist_group("teeth")
@pytest.mark.parametrize("name", DEFECTS)
def test_the_kit_fails_the_defect(results: Results, name: str) -> None:
    """The test named beside the defect fails on it, and so do not merely its fixtures."""
    test = DEFECTS[name]
    states = {case: state for case, state in results[name].items() if case.split("[")[0] == test}
    assert "failure" in states.values(), f"{test} passes {name}: {states}"
    assert "error" not in states.values()


@pytest.mark.xdist_group("teeth")
@pytest.mark.parametrize("name", SOUND)
def test_the_kit_passes_what_is_sound(results: Results, name: str) -> None:
    """Every test passes, or is skipped for a capability that is not declared."""
    states = results[name]
    assert len(states) > 600
    assert [case for case, state in states.items() if state not in ("passed", "skipped")] == []
    assert sum(state == "skipped" for state in states.values()) < 12


@pytest.mark.xdist_group("teeth")
def test_the_kit_passes_started_calls_that_are_sound(results: Results) -> None:
    """Of a backend that has them: the sound ones above have none."""
    assert set(results["SoundPosting"].values()) == {"passed"}
    assert len(results["SoundPosting"]) >= 8


@pytest.mark.xdist_group("teeth")
def test_there_are_enough_defects() -> None:
    """Some dozens, each of its own kind and described in a sentence."""
    assert len(DEFECTS) >= 60
    for kind, _ in (*planted.DEFECTS.values(), *filestore.DEFECTS.values()):
        assert kind.__doc__
