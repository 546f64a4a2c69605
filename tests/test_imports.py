"""Imports point one way: down the data's path in the core, and from plugins to the core only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core/src/statekeep"

RANKS = [
    {"errors", "clock", "fork", "deflate", "sockets"},
    {"validate", "options", "servers"},
    {"model", "hookspecs", "passwords"},
    {"findings", "cache", "usage", "pending"},
    {"backend", "examining", "observer", "logs", "cursors", "updates", "compressor", "pool"},
    {"naming"},
    {"metrics"},
    {"envelope", "session", "sql", "foreign", "infinitic"},
    {"values", "sets", "deferred", "unit", "layers", "registry", "combining"},
    {"storage", "structure", "sources"},
    {"config"},
    {"compose", "census"},
    {"aio", "migration"},
    {"testing"},
    {"cli"},
]
"""From the bottom up: a module imports only from the ranks below its own, or from its own."""

DRIVERS = {
    *("sqlite3", "redis", "pg8000", "pymysql", "cachebox", "lz4", "zstandard"),
    *("prometheus_client", "opentelemetry"),
}
OPTIONAL = {"isal", "zlib_ng"}
"""Used by the core where they are installed."""


def rank(module: str) -> int:
    return next(index for index, names in enumerate(RANKS) if module in names)


def imported(path: Path, at_import_only: bool = False) -> set[str]:
    """The dotted names that a file imports; type-checking blocks left out."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    skip: set[int] = set()
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and at_import_only
        if deferred or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            skip.update(id(child) for child in ast.walk(node))
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def core_modules() -> list[Path]:
    return [path for path in CORE.rglob("*.py") if path.relative_to(CORE) != Path("__init__.py")]


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: str(path.relative_to(CORE)))
def test_a_core_module_imports_only_what_lies_below_it(path: Path) -> None:
    """The order of DESIGN section 10, and every module has a rank."""
    own = path.relative_to(CORE).parts[0].removesuffix(".py")
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "statekeep" and len(parts) > 1 and any(parts[1] in each for each in RANKS):
            assert rank(parts[1]) <= rank(own), f"{path.name} imports {name}, which lies above it"


@pytest.mark.parametrize("path", core_modules(), ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_imports_no_plugin_and_no_driver(path: Path) -> None:
    """Not even inside a function: plugins are found, never imported by name."""
    for name in imported(path):
        top = name.split(".")[0]
        assert not top.startswith("statekeep_"), f"{path} imports {name}"
        assert top not in DRIVERS, f"{path} imports {name}"


def plugin_files() -> list[Path]:
    return list(ROOT.glob("plugins/*/src/*/*.py"))


@pytest.mark.parametrize("path", plugin_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_plugins_import_no_other_plugin_and_drivers_only_in_their_place(path: Path) -> None:
    """A driver's calls are in driver.py; plugin.py and config.py load none on import."""
    package = path.parent.name
    for name in imported(path):
        top = name.split(".")[0]
        assert not top.startswith("statekeep_") or top == package, f"{path} imports {name}"
    if path.name in ("plugin.py", "config.py", "__init__.py"):
        heavy = {each.split(".")[0] for each in imported(path, at_import_only=True)} & DRIVERS
        assert not heavy, f"{path} imports {heavy} when it is imported"


def test_importing_statekeep_imports_no_plugin_no_driver_and_no_extra() -> None:
    """In a fresh interpreter."""
    program = "import statekeep, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    tops = {name.split(".")[0] for name in loaded}
    assert not tops & (DRIVERS | OPTIONAL | {"yaml", "typer", "rich", "pytest", "hypothesis"})
    assert not {top for top in tops if top.startswith("statekeep_")}
