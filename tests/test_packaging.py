"""Every package builds its own wheel, installs alone, and carries the same version."""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted([ROOT / "core", *(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))])
CORE_DEPENDENCIES = {"pluggy", "attrs", "cattrs", "typing-extensions"}
COMPRESSORS = ("lz4", "zstd")
OBSERVERS = ("prometheus", "opentelemetry")

MISSING = """
try:
    statekeep.open("redis://localhost")
except statekeep.PluginError as error:
    print(error)
"""
ONE_BACKEND = (
    """
import statekeep
with statekeep.open({{"{plugin}": {{}}}}) as storage:
    version = storage.values.put("k", b"v", expected=0)
    assert storage.values.get("k").version == version
"""
    + MISSING
)
ONE_COMPRESSOR = (
    """
import statekeep
from statekeep import envelope
from statekeep.registry import default_registry
plugin = default_registry().compressor("{plugin}")
compressor = plugin.factory(plugin.config())
stored = envelope.wrap_compressed("k", b"v" * 1000, envelope.prefix("{plugin}"), compressor)
assert len(stored) < 100
assert envelope.unwrap("k", stored, lambda name: compressor, 1000) == b"v" * 1000
"""
    + MISSING
)
ONE_OBSERVER = (
    """
import statekeep
from statekeep.registry import default_registry
plugin = default_registry().observer("{plugin}")
plugin.factory(plugin.config()).close()
"""
    + MISSING
)
PROGRAMS = dict.fromkeys(COMPRESSORS, ONE_COMPRESSOR) | dict.fromkeys(OBSERVERS, ONE_OBSERVER)


def project(package: Path) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    return content


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_versions_are_equal() -> None:
    """One number for the core, every plugin, and what a plugin asks of the core."""
    import statekeep

    assert {project(package)["version"] for package in PACKAGES} == {statekeep.__version__}
    for package in PACKAGES:
        needed = [each for each in project(package)["dependencies"] if each.startswith("statekeep")]
        assert needed == ([] if package.name == "core" else [f"statekeep=={statekeep.__version__}"])
    for extra in project(ROOT / "core")["optional-dependencies"].values():
        for each in extra:
            if each.startswith("statekeep-"):
                assert each.endswith(f"=={statekeep.__version__}")


def test_the_core_depends_on_three_libraries_only() -> None:
    """Everything else is an extra or a plugin."""
    names = {each.split(">")[0].split("=")[0] for each in project(ROOT / "core")["dependencies"]}
    assert names == {"pluggy", "attrs", "cattrs"}


def test_every_plugin_is_an_extra_of_the_core() -> None:
    """`pip install "statekeep[lz4]"` gets the plugin."""
    extras = project(ROOT / "core")["optional-dependencies"]
    for package in PACKAGES[1:]:
        assert extras[package.name] == [f"statekeep-{package.name}==0.1.0"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        run(
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
            *("--outdir", folder, package),
        )
    return folder


def test_every_package_builds_a_wheel_of_its_own(wheels: Path) -> None:
    """Typed, and with nothing of its neighbours inside."""
    from zipfile import ZipFile

    assert len(list(wheels.glob("*.whl"))) == len(PACKAGES)
    for wheel in wheels.glob("*.whl"):
        import_name = wheel.name.split("-")[0]
        files = ZipFile(wheel).namelist()
        assert f"{import_name}/py.typed" in files
        tops = {name.split("/")[0] for name in files if ".dist-info" not in name}
        assert tops == {import_name}


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["sqlite", "memory", *COMPRESSORS, *OBSERVERS])
def test_the_core_and_one_plugin_install_alone(wheels: Path, tmp_path: Path, plugin: str) -> None:
    """An empty environment gets only that plugin's dependencies, and the storage opens."""
    environment = tmp_path / "env"
    venv.create(environment)
    python = environment / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--find-links", wheels, "statekeep", f"statekeep-{plugin}")
    listed = run(*pip, "list", "--format=freeze")
    names = {line.split("==")[0].lower().replace("_", "-") for line in listed.split()}
    dependencies = project(ROOT / "plugins" / plugin)["dependencies"]
    own = {each.split(">")[0].split("=")[0] for each in dependencies}
    wanted = {"statekeep", f"statekeep-{plugin}"} | own | CORE_DEPENDENCIES
    assert names == wanted
    program = PROGRAMS.get(plugin, ONE_BACKEND).format(plugin=plugin)
    done = subprocess.run(
        [str(python), "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "pip install statekeep-redis" in done.stdout
