"""Which file is meant, however it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import statekeep
from statekeep.config import load
from statekeep.errors import ConfigError
from statekeep.layers.base import innermost
from statekeep.options import OptionError
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend
from statekeep_sqlite.location import locate


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///state.db", "state.db"),
        ("sqlite:////var/lib/state.db", "/var/lib/state.db"),
        ("sqlite:state.db", "state.db"),
        ("sqlite:///with%20blank%3F.db", "with blank?.db"),
        ("sqlite3:///state.db", "state.db"),
    ],
)
def test_a_url_names_a_path(url: str, path: str) -> None:
    """Three slashes: relative; four: absolute; percent signs are decoded."""
    assert load(url).backend == SqliteConfig(path=path)


def test_a_url_states_options() -> None:
    """Its query holds the options of the config class."""
    backend = load("sqlite:///s.db?synchronous=normal&busy_timeout=100&read_only=true").backend
    assert backend == SqliteConfig(
        path="s.db", synchronous="normal", busy_timeout=100, read_only=True
    )


def test_a_url_has_no_host() -> None:
    """`sqlite://state.db` is one slash short, and says so."""
    with pytest.raises(ConfigError, match="no host"):
        load("sqlite://state.db")


@pytest.mark.parametrize(
    "source",
    [
        "sqlite:///:memory:",
        "sqlite://",
        {"storage": {"sqlite": {"path": ":memory:"}}},
        {"storage": {"sqlite": {"path": "file::memory:?cache=shared"}}},
        {"storage": {"sqlite": {"path": "file:x?mode=memory"}}},
        {"storage": {"sqlite": {"path": ""}}},
    ],
)
def test_a_database_in_memory_is_refused(source: object) -> None:
    """Nothing of it would be shared by two connections: the backend `memory` is what is meant."""
    with pytest.raises(ConfigError, match='backend "memory"'):
        load(source)  # type: ignore[arg-type]  # str or dict


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"synchronous": "sometimes"}, "one of full, normal, extra, off"),
        ({"busy_timeout": -1}, "from 0 to"),
        ({"integrity_check": "maybe"}, "one of auto"),
        ({"path": "file:x.db?cache=shared"}, "share its cache"),
        ({"path": "file:x.db?nolock=1"}, "no parameters but"),
        ({"path": "file:x.db?mode=rx"}, "must have a mode"),
        ({"path": "file:x.db?immutable=1"}, "mode=ro"),
        ({"path": "file://server/x.db"}, "host"),
        ({"path": "a\0b"}, "NUL"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], problem: str) -> None:
    """With the rule it breaks."""
    with pytest.raises(OptionError, match=problem):
        SqliteConfig(**options)  # type: ignore[arg-type]  # wrong on purpose


def test_a_uri_is_read() -> None:
    """Percent signs, mode, and parameters for SQLite."""
    location = locate("file:/data/a%20b.db?mode=ro&psow=1")
    assert (location.path, location.read_only, location.create) == ("/data/a b.db", True, False)
    assert location.uri("ro") == "file:///data/a%20b.db?mode=ro&psow=1"
    assert locate("file:x.db?mode=rw").create is False


def test_odd_names_of_files(tmp_path: Path) -> None:
    """What has a meaning in a URI has none in a path."""
    for name in ("a?b.db", "a#b.db", "50%25.db", "ä ö.db"):
        with statekeep.open({"sqlite": {"path": str(tmp_path / name)}}) as storage:
            storage.values.put("key", b"value")
        assert (tmp_path / name).is_file()


def test_a_uri_opens(tmp_path: Path) -> None:
    """A `file:` URI serves as well as a path, and its mode counts."""
    with statekeep.open({"sqlite": {"path": f"file:{tmp_path}/s.db"}}) as storage:
        storage.values.put("key", b"value")
    with statekeep.open({"sqlite": {"path": f"file:{tmp_path}/s.db?mode=ro"}}) as storage:
        assert storage.capabilities.read_only
        assert storage.values.get("key") is not None


def test_a_vfs_that_sqlite_does_not_have_is_named(tmp_path: Path) -> None:
    """As a mistake in the config, whether or not the file is there; one that it has is used."""
    path = f"file:{tmp_path}/s.db?vfs="
    with pytest.raises(ConfigError, match="no vfs 'nope'"):
        statekeep.open({"sqlite": {"path": f"{path}nope"}})
    with pytest.raises(ConfigError, match="no vfs ''"):
        SqliteBackend(SqliteConfig(path=path))
    assert not list(tmp_path.iterdir())
    with statekeep.open({"sqlite": {"path": f"{path}unix"}}) as storage:
        storage.values.put("key", b"value")


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the working directory does not lead to another file."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with statekeep.open("sqlite:///state.db") as storage:
        storage.values.put("key", b"value")
        os.chdir(tmp_path / "elsewhere")
        assert storage.values.get("key") is not None
        storage.values.put("key", b"value")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_making_a_backend_touches_nothing(tmp_path: Path) -> None:
    """Only `setup` does."""
    SqliteBackend(SqliteConfig(path=str(tmp_path / "state.db"))).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("synchronous", "durable"), [("full", True), ("extra", True), ("normal", False), ("off", False)]
)
def test_durable_means_through_a_power_failure(synchronous: str, durable: bool) -> None:
    """`normal` may forget the last transactions then, so it is not declared durable."""
    backend = SqliteBackend(SqliteConfig(path="never.db", synchronous=synchronous))
    assert backend.capabilities.durable is durable


def test_a_file_mapped_into_memory(path: Path) -> None:
    """Every connection maps as much as the option says, and reads what was written."""
    with statekeep.open({"sqlite": {"path": str(path), "mmap_size": 2**20}}) as storage:
        storage.values.put("key", b"value")
        assert storage.values.get("key").value == b"value"
        database = innermost(storage.backend)._database
        for connection in database._alive:
            assert connection.execute("PRAGMA mmap_size").fetchone() == (2**20,)
