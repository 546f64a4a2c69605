"""docs/plugins.md by the letter: a third-party backend in a folder outside the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs/plugins.md"
FILE = re.compile(r"^\*\*`([^`]+)`\*\*.*?\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, in a folder of their own, installed where only this test sees it."""
    folder = tmp_path_factory.mktemp("statekeep-file")
    for name, content in FILE.findall(PAGE.read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")
    options = ("--no-build-isolation", "--disable-pip-version-check", "--target")
    run(folder, *install, *options, str(folder / "installed"), str(folder))
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "installed")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_page_has_a_whole_package() -> None:
    """Every file that it speaks of."""
    names = [name for name, _ in FILE.findall(PAGE.read_text())]
    assert len(names) == len(set(names)) == 7


def test_the_backend_opens_by_its_name_in_a_config_file(package: Path) -> None:
    """The registry finds it; statekeep was not changed."""
    (package / "statekeep.toml").write_text('[storage.file]\npath = "state.pickle"\n')
    program = """
import statekeep
with statekeep.open("statekeep.toml", compression="gzip") as storage:
    storage.values.put("k", b"v" * 1000, expected=0)
with statekeep.open() as storage:
    print(len(storage.values.get("k").value))
"""
    assert run(package, sys.executable, "-c", program).strip() == "1000"


@pytest.mark.slow
def test_the_backend_passes_the_conformance_kit(package: Path) -> None:
    """All of it, as the page says."""
    out = run(package, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    passed = re.search(r"(\d+) passed", out)
    assert passed is not None
    assert int(passed[1]) >= 100
