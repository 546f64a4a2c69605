"""`check`: config, store, latency; nothing created unasked, no record left."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from attrs import frozen
from statekeep import BackendPlugin, DeferredMessage, Outcome, Transaction, Unavailable, hookimpl
from statekeep.layers.base import Layer
from statekeep.options import option
from statekeep.registry import default_registry
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend

READS = {"ping", "get", "get_10", "set_members", "set_contains"}
WRITES = {"put", "conditional_put", "delete", "set_add", "set_remove", "schedule"} | {
    "transaction",
    "claim",
    "acknowledge",
}


@frozen(kw_only=True)
class FlakyConfig:
    path: str = option("flaky.db", "the file")
    broken_for_good: bool = option(False, "no write works after the failure")


class Flaky(Layer):
    """SQLite, until the first claim."""

    def __init__(self, config: FlakyConfig) -> None:
        super().__init__(SqliteBackend(SqliteConfig(path=config.path)))
        self.config, self.failed = config, False

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        self.failed = True
        raise Unavailable("the line\nis cut")

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        if self.failed and self.config.broken_for_good:
            raise Unavailable("still cut")
        return super().commit(transactions)


class Plugin:
    @hookimpl
    def statekeep_backends(self) -> list[BackendPlugin]:
        return [BackendPlugin(name="flaky", config=FlakyConfig, factory=Flaky)]


@pytest.fixture
def flaky() -> Any:
    """A backend `flaky` that config may name."""
    registry, plugin = default_registry(), Plugin()
    registry.register(plugin, "test")
    yield
    registry._manager.unregister(plugin)
    del registry.backends.offers["flaky"], registry.backends.by_alias["flaky"]


def nothing_left(run, *source: str) -> bool:
    return not any(
        run("list", "--kind", kind, *source).raw for kind in ("values", "sets", "deferred")
    )


def test_a_complete_store(run) -> None:
    """Line by line, ending with the latency of each operation; no record is left."""
    run("check", "--create", "--rounds", "1")
    found = run("check", "--rounds", "2")
    assert found.code == 0
    assert found.lines[:3] == [
        "config    valid, backend sqlite",
        "missing   nothing",
        "reachable yes",
    ]
    measured = {line[2:18].strip().replace(" ", "_") for line in found.lines[5:]}
    assert measured == READS | WRITES
    assert nothing_left(run)


def test_json(run) -> None:
    """One object with everything, latencies in milliseconds."""
    run("check", "--create", "--rounds", "1")
    found = run("check", "--rounds", "2", "--json").json
    assert (found["ok"], found["missing"], found["reachable"]) == (True, [], True)
    assert found["promises"]["durable"] is True
    assert set(found["latency_ms"]) == READS | WRITES
    assert all(0 < each < 10_000 for each in found["latency_ms"].values())


def test_what_is_missing_is_named_and_created_only_when_asked(run, elsewhere) -> None:
    """Exit code 1 and an empty folder; with `--create`, 0 and a store."""
    found = run("check")
    assert found.code == 1
    assert f"missing   file {elsewhere / 'statekeep.db'}" in found.out
    assert list(elsewhere.iterdir()) == []
    found = run("check", "--json")
    assert (found.code, found.json["ok"], found.json["created"]) == (1, False, False)
    created = run("check", "--create", "--rounds", "1", "--json")
    assert (created.code, created.json["created"]) == (0, True)
    assert (elsewhere / "statekeep.db").exists()


def test_a_read_only_store_is_only_read(run, elsewhere) -> None:
    """No write is tried; the file stays as it was."""
    run("put", "k", "v")
    (elsewhere / "c.toml").write_text("[storage.sqlite]\npath = 'statekeep.db'\nread_only = true")
    found = run("check", "--config", "c.toml", "--json", "--rounds", "1")
    assert (found.code, set(found.json["latency_ms"])) == (0, READS)
    refused = run("put", "k", "v", "--config", "c.toml")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("command", ["check", "doctor", "stats"])
def test_who_only_reads_is_not_told_to_create(run, command) -> None:
    """There a write and `--create` are refused; the place is what can be wrong."""
    refused = run(command, "--url", "sqlite:///absent.db?read_only=true")
    assert refused.code == 1
    said = refused.out + refused.err
    assert "correct the place in the config" in said and "--create" not in said


def test_a_failure_on_the_way_leaves_no_record(run, flaky) -> None:
    """The report so far, the error in one line, exit code 4, and the probes are cleaned up."""
    found = run("check", "--url", "flaky:", "--create", "--rounds", "1")
    assert (found.code, found.err) == (4, "statekeep: the line is cut\n")
    assert "reachable yes" in found.out
    assert nothing_left(run, "--url", "flaky:")


def test_what_could_not_be_cleaned_up_is_named(run, flaky) -> None:
    """Where the store is gone for good, the error says what may be left."""
    found = run("check", "--url", "flaky:?broken_for_good=true", "--create", "--rounds=1", "--json")
    assert found.json["error"]["error"] == found.error["error"] == "Unavailable"
    assert "records named {statekeep-check-" in found.error["message"]


def test_a_config_that_is_wrong(run, elsewhere) -> None:
    """Exit code 2, a line for each problem; in JSON the report says not ok."""
    (elsewhere / "statekeep.toml").write_text("[storage.sqlite]\npath = 3\nbusy_timout = 1")
    found = run("check")
    assert (found.code, found.raw, len(found.err.splitlines())) == (2, b"", 2)
    assert "did you mean 'busy_timeout'?" in found.err
    found = run("check", "--json")
    assert found.json["ok"] is False
    assert len(found.error["problems"]) == 2


def test_a_store_that_is_busy(run, elsewhere) -> None:
    """Another process that holds the file: exit code 4."""
    run("put", "k", "v")
    with closing(sqlite3.connect("statekeep.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        refused = run("put", "k", "v", "--url", "sqlite:///statekeep.db?busy_timeout=10")
    assert (refused.code, refused.err.count("\n")) == (4, 1)


def test_the_cache_is_not_what_is_measured(run, elsewhere) -> None:
    """A config with a cache is checked at the store itself."""
    (elsewhere / "statekeep.toml").write_text(
        "[storage.sqlite]\n[storage.cache.key_value]\nmaximum_size = 10"
    )
    assert run("check", "--create", "--rounds", "1").code == 0


def test_a_fault_is_one_line_too(run, monkeypatch) -> None:
    """Whatever a plugin lets escape: exit code 70, its class and text, and how to see more."""

    def ping(_: object) -> None:
        raise RuntimeError("out of\ncheese")

    monkeypatch.setattr(SqliteBackend, "ping", ping)
    found = run("check", "--create")
    line = "statekeep: unexpected RuntimeError: out of cheese (--debug shows where)\n"
    assert (found.code, found.err) == (70, line)
