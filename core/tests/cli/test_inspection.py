"""`plugins`, `config show`, `stats`, `purge`, `--version`, and where the config comes from."""

from __future__ import annotations

import time
import tomllib
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import statekeep
from attrs import frozen
from statekeep import BackendPlugin, hookimpl, registry
from statekeep.options import option

SECRET = "hunter2"


@frozen(kw_only=True)
class Node:
    host: str = option("h", "where")
    password: str | None = option(None, "its password", secret=True)


@frozen(kw_only=True)
class VaultConfig:
    password: str | None = option(None, "the password", secret=True)
    nodes: tuple[Node, ...] = ()
    node: Node = Node(password=SECRET)


class Vault:
    @hookimpl
    def statekeep_backends(self) -> list[BackendPlugin]:
        return [
            BackendPlugin(name="vault", config=VaultConfig, factory=lambda config: config),  # type: ignore[return-value]
        ]


@pytest.fixture
def vault() -> Any:
    """A backend `vault` whose config has secrets."""
    plugins, plugin = registry.default_registry(), Vault()
    plugins.register(plugin, "test")
    yield
    plugins._manager.unregister(plugin)
    del plugins.backends.offers["vault"], plugins.backends.by_alias["vault"]


def test_plugins(run) -> None:
    """Each with kind, name, distribution, version and status."""
    lines = [line.split("\t") for line in run("plugins").lines]
    assert ["compressor", "gzip", "statekeep", statekeep.__version__, "-", "ok", "-"] in lines
    rows = run("plugins", "--json").jsons
    (memory,) = (row for row in rows if (row["kind"], row["name"]) == ("backend", "memory"))
    assert memory == {
        "kind": "backend",
        "name": "memory",
        "distribution": "statekeep-memory",
        "version": statekeep.__version__,
        "aliases": ["in_memory"],
        "status": "ok",
        "cause": None,
    }


def test_plugins_that_are_broken_or_clash(run, monkeypatch) -> None:
    """Named with their cause, besides those that work; exit code 1."""
    entry_points = [
        EntryPoint("gone", "no_such_module_anywhere", "statekeep"),
        EntryPoint("memory", "statekeep_memory.plugin", "statekeep"),
    ]
    found = registry.Registry(entry_points)
    found.backends.clashes["memory"] = ("one", "another")
    monkeypatch.setattr(registry, "default_registry", lambda: found)
    listed = run("plugins", "--json")
    rows = {(row["name"], row["status"]): row for row in listed.jsons}
    assert listed.code == 1
    assert "no_such_module_anywhere" in rows["gone", "broken"]["cause"]
    assert rows["memory", "clash"]["cause"] == "offered by both one and another: uninstall one"
    assert ("memory", "ok") in rows
    assert run("plugins").code == 1


def test_config_show_is_a_config_and_names_its_source(run, elsewhere) -> None:
    """What it prints, read back as a config file, is the same config."""
    (elsewhere / "statekeep.toml").write_text(
        "[storage]\ncompression = 'gzip'\n[storage.sqlite]\npath = 'a \"b\".db'\n"
        "[storage.cache.key_value]\nmaximum_size = 10"
    )
    shown = run("config", "show").out
    assert shown.startswith("# from statekeep.toml\n")
    tables = tomllib.loads(shown)["storage"]
    assert tables["sqlite"]["path"] == 'a "b".db'
    assert tables["compression"] == {"name": "gzip", "min_size": 128, "level": 6}
    (elsewhere / "again.toml").write_text(shown)
    assert run("config", "show", "--config", "again.toml").lines[1:] == shown.splitlines()[1:]
    found = run("config", "show", "--json").json
    assert (found["source"], found["storage"]["backend"]) == ("statekeep.toml", "sqlite")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_secrets_are_masked(run, vault, elsewhere, form: tuple[str, ...]) -> None:
    """Wherever they stand in the config, in any form."""
    (elsewhere / "c.toml").write_text(f"[storage.vault]\npassword = '{SECRET}'")
    for source in (("--config", "c.toml"), ("--url", f"vault://?password={SECRET}")):
        shown = run("config", "show", *source, *form)
        assert shown.code == 0
        assert "********" in shown.out
        assert SECRET not in shown.out


@pytest.mark.parametrize(
    "url",
    [
        f"postgres://u:{SECRET}/x@h/d",
        f"//u:{SECRET}@h/d",
        f"nothing://u:{SECRET}@h/d",
        f"sqlite://u:{SECRET}@h:port/d",
        f"vault://?pasword={SECRET}&password={SECRET}",
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",), ("--debug",)])
def test_a_wrong_url_is_not_repeated(process, run, vault, url: str, form: tuple[str, ...]) -> None:
    """It may hold a password: neither the error nor a traceback shows it."""
    started = run if url.startswith("vault") else process
    refused = started("list", "--url", url, *form)
    assert refused.code == 2
    assert SECRET not in refused.err


def test_stats(run) -> None:
    """Records and bytes by kind, in lines and in JSON."""
    run("put", "k", "v")
    run("set", "add", "tag", "a", "b")
    assert "key_value.records\t1" in run("stats").lines
    found = run("stats", "--json").json
    assert found["kinds"]["key_value"]["records"] == 1
    assert set(found) == {"kinds", "stored_bytes", "pool", "details"}


def test_purge(run) -> None:
    """Removes what has expired, and says how much that was."""
    for key in ("a", "b"):
        run("put", key, "v", "--ttl", "1ms")
    run("put", "c", "v")
    time.sleep(0.01)
    assert run("purge").lines == ["2"]
    assert run("purge", "--json").json == {"purged": 0}
    assert len(run("list").lines) == 1


def test_where_the_config_comes_from(run, elsewhere, monkeypatch) -> None:
    """`--config` and `--url` before the environment, that before the file and the default."""

    def source() -> str:
        return run("config", "show", "--json").json["source"]

    assert source() == "the embedded default"
    (elsewhere / "statekeep.toml").write_text("[storage.sqlite]")
    assert source() == "statekeep.toml"
    monkeypatch.setenv("STATEKEEP_URL", "memory:")
    assert "STATEKEEP_URL" in source()
    shown = run("config", "show", "--json", "--config", "statekeep.toml").json
    assert shown["source"] == "statekeep.toml"
    assert run("list", "--config", "statekeep.toml", "--url", "memory:").code == 2
    assert run("--config", "statekeep.toml", "list", "--url", "memory:").code == 2


def test_global_options_stand_before_or_after(run) -> None:
    """Of the program, of a group, of a command."""
    for line in (
        ("--json", "--url", "memory:", "config", "show"),
        ("config", "--json", "--url", "memory:", "show"),
        ("config", "show", "--json", "--url", "memory:"),
        ("--json", "config", "--url", "memory:", "show"),
    ):
        assert run(*line).json["storage"]["backend"] == "memory"


def test_version(run) -> None:
    """The distribution's."""
    assert run("--version").out == f"statekeep {statekeep.__version__}\n"
