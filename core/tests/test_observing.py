"""Observers: opened and closed with the storage, told of every call, unable to disturb one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import statekeep
from attrs import field, frozen, mutable
from statekeep import Storage, StorageError, VersionConflict
from statekeep.compose import compose
from statekeep.config import StorageConfig, load
from statekeep.hookspecs import ObserverPlugin, hookimpl
from statekeep.layers.base import Layer
from statekeep.layers.observing import ObservedLayer, ObservingLayer
from statekeep.logs import CallLog, LoggingConfig
from statekeep.model import Transaction
from statekeep.observer import CallEnd, CallObserver, Observer, Watched
from statekeep.options import option
from statekeep.registry import Registry
from statekeep_memory import MemoryConfig
from statekeep_memory.backend import MemoryBackend


@frozen(kw_only=True)
class SpyConfig:
    label: str = option("spy", "how it signs")
    broken: str = option("", "the method that fails")
    interrupted: str = option("", "the method that an interrupt strikes")


@mutable(eq=False)
class Spy(CallObserver):
    """Notes what it is told."""

    config: SpyConfig
    notes: list[Any] = field(factory=list)
    watched: Watched | None = None

    def opened(self, watched: Watched) -> None:
        self._note("opened")
        self.watched = watched

    def close(self) -> None:
        self._note("close")

    def begun(self, operation: str) -> str:
        self._note(("begun", operation))
        return f"token of {operation}"

    def ended(self, end: CallEnd, begun: Any) -> None:
        error = type(end.error).__name__ if end.error else None
        self._note(("ended", end.operation, end.records, error, begun))
        assert end.seconds >= 0

    def _note(self, what: Any) -> None:
        self.notes.append((self.config.label, what))
        name = what if isinstance(what, str) else what[0]
        if self.config.broken == name:
            raise StorageError(f"{name} is broken")
        if self.config.interrupted == name:
            raise KeyboardInterrupt


SPIES: list[Spy] = []


class Plugin:
    @staticmethod
    @hookimpl
    def statekeep_observers() -> list[ObserverPlugin]:
        return [ObserverPlugin(name="spy", config=SpyConfig, factory=_spy)]


def _spy(config: SpyConfig) -> Observer:
    SPIES.append(Spy(config))
    return SPIES[-1]


@pytest.fixture
def registry() -> Iterator[Registry]:
    SPIES.clear()
    registry = Registry()
    registry.register(Plugin(), "the test")
    yield registry


def opened(registry: Registry, **observers: Any) -> Storage:
    config = load({"memory": {}, "observers": observers}, registry=registry)
    return compose(config, registry)


def test_an_observer_is_told_of_every_call_in_order(registry: Registry) -> None:
    """With its own token, the number of records, and the error."""
    with opened(registry, spy={}) as storage:
        storage.values.put("k", b"1")
        storage.values.get_many(["k", "l"])
        with pytest.raises(VersionConflict):
            storage.values.put("k", b"2", expected=0)
        storage.deferred.claim("q")
    (spy,) = SPIES
    assert [what for _, what in spy.notes] == [
        "opened",
        ("begun", "put"),
        ("ended", "put", 1, None, "token of put"),
        ("begun", "get_many"),
        ("ended", "get_many", 2, None, "token of get_many"),
        ("begun", "put"),
        ("ended", "put", 1, "VersionConflict", "token of put"),
        ("begun", "claim"),
        ("ended", "claim", 0, None, "token of claim"),
        "close",
    ]


def test_it_may_ask_what_it_watches(registry: Registry) -> None:
    """The name, where the store is, usage and stats, as the storage has them."""
    with opened(registry, spy={}) as storage:
        storage.values.put("k", b"1")
        watched = SPIES[0].watched
        assert watched is not None
        assert (watched.backend_name, str(watched.target)) == ("memory", "memory")
        assert watched.usage().calls["put"].count == 1
        assert sum(each.records for each in watched.stats().kinds.values()) == 1
    assert watched.usage().calls["put"].count == 1  # a question that comes late


def test_what_was_begun_last_ends_first(registry: Registry) -> None:
    """So that what observers open around a call is nested."""
    first, second = SpyConfig(label="1"), SpyConfig(label="2")
    backend = load({"memory": {}}, registry=registry).backend
    with compose(StorageConfig(backend=backend, observers=(first, second)), registry) as storage:
        notes: list[Any] = []
        for spy in SPIES:
            spy.notes = notes
        storage.values.get("k")
    assert [label for label, _ in notes] == ["1", "2", "2", "1", "2", "1"]


@pytest.mark.parametrize("interrupted", ["begun", "ended"])
def test_an_interrupt_in_one_observer_ends_the_call_for_the_others(
    registry: Registry, interrupted: str
) -> None:
    """What they opened for it is closed: no span stays the current one for ever."""
    backend = load({"memory": {}}, registry=registry).backend
    both = (SpyConfig(), SpyConfig(interrupted=interrupted))
    with compose(StorageConfig(backend=backend, observers=both), registry) as storage:
        with pytest.raises(KeyboardInterrupt):
            storage.values.get("k")
        (_, begun), (_, ended) = SPIES[0].notes[1:]
        error = "KeyboardInterrupt" if interrupted == "begun" else None
        assert begun == ("begun", "get")
        assert ended == ("ended", "get", 1, error, "token of get")


@pytest.mark.parametrize("broken", ["begun", "ended", "close"])
def test_a_broken_observer_disturbs_no_call(
    registry: Registry, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, and the calls have their answers."""
    with opened(registry, spy={"broken": broken}) as storage:
        storage.values.put("k", b"1")
        entry = storage.values.get("k")
        assert entry is not None and entry.value == b"1"
    assert [record.name for record in caplog.records] == ["statekeep.observers"]


def test_an_observer_that_cannot_begin_closes_the_storage(registry: Registry) -> None:
    """And says why; nothing stays open."""
    with pytest.raises(StorageError, match="opened is broken"):
        opened(registry, spy={"broken": "opened"})
    assert [what for _, what in SPIES[0].notes] == ["opened", "close"]


def test_an_unknown_observer_is_named_with_those_there_are(registry: Registry) -> None:
    """As with every plugin."""
    with pytest.raises(statekeep.ConfigError, match=r"observers.spi: there is no observer 'spi'"):
        opened(registry, spi={})
    with pytest.raises(statekeep.ConfigError, match=r"observers.spy.labl: .*'label'"):
        opened(registry, spy={"labl": "x"})


def test_overrides_replace_observers(registry: Registry) -> None:
    """Over a file and over a config object alike."""
    config = load({"memory": {}}, {"observers": {"spy": {"label": "a"}}}, registry)
    assert config.observers == (SpyConfig(label="a"),)
    assert load(config, {"observers": {}}, registry).observers == ()


def test_the_command_line_is_not_observed(tmp_path: Any, monkeypatch: Any) -> None:
    """A port for an application's metrics is not the command line's."""
    from statekeep.cli.app import run

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "statekeep.toml"
    file.write_text('[storage.sqlite]\npath = "s.db"\n[storage.observers.logging]\nslow = 0\n')
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("statekeep.calls").addHandler(handler)
    try:
        assert run(["put", "k", "v"]) == 0
    finally:
        logging.getLogger("statekeep.calls").removeHandler(handler)
    assert records == []


def test_the_log_has_failures_and_slow_calls(caplog: pytest.LogCaptureFixture) -> None:
    """As fields and as text, without the value."""
    caplog.set_level(logging.DEBUG, "statekeep.calls")
    with statekeep.open({"memory": {}, "observers": {"logging": {"slow": 60_000}}}) as storage:
        storage.values.put("order/42", b"secret value")
        with pytest.raises(VersionConflict):
            storage.values.put("order/42", b"secret value", expected=0)
        backend = storage.backend
        backend.close()
        with pytest.raises(StorageError):
            storage.values.get("order/42")
    levels = [(each.levelname, each.statekeep["operation"]) for each in caplog.records]  # type: ignore[attr-defined]
    assert levels == [("DEBUG", "put"), ("ERROR", "get")]
    fields = caplog.records[1].statekeep  # type: ignore[attr-defined]
    assert fields["error"] == "Closed" and fields["backend"] == "memory"
    assert "operation=get" in caplog.text and "secret" not in caplog.text


def test_a_log_record_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a server says: it cannot forge another record. The fields have it as it is."""
    log = CallLog(LoggingConfig())
    log.ended(CallEnd("get", 0.1, 1, StorageError("no\n2026 ERROR forged \x1b[2J é")), None)
    (record,) = caplog.records
    assert record.getMessage().endswith(r"detail=no\n2026 ERROR forged \x1b[2J é")
    assert record.statekeep["detail"] == "no\n2026 ERROR forged \x1b[2J é"  # type: ignore[attr-defined]


def test_every_call_is_logged_where_the_limit_is_zero(caplog: pytest.LogCaptureFixture) -> None:
    """`slow = 0`, and a logger of one's own."""
    config = {"memory": {}, "observers": {"logging": {"slow": 0, "logger": "mine"}}}
    with statekeep.open(config) as storage:
        storage.values.get("k")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("mine", "WARNING")
    assert "records=1" in record.getMessage()


def test_the_logging_observer_is_part_of_the_core() -> None:
    """No plugin is needed for it."""
    assert load({"memory": {}, "observers": {"logging": {}}}).observers == (LoggingConfig(),)


class Answering(Layer):
    """A backend with an answer to whatever an event loop asks."""

    def peek(self, keys: Sequence[str]) -> Any:
        return {"peek": keys}

    def peek_members(self, keys: Sequence[str]) -> Any:
        return {"peek_members": keys}

    def start_get_many(self, keys: Sequence[str]) -> Any:
        return {"start_get_many": keys}

    def start_commit(self, transactions: Sequence[Transaction]) -> Any:
        return {"start_commit": transactions}


LOOP_WAYS = ("peek", "peek_members", "start_get_many", "start_commit")


@pytest.mark.parametrize("name", LOOP_WAYS)
def test_observers_of_numbers_leave_the_ways_of_event_loops_open(name: str) -> None:
    """Who is not told of each call, as the Prometheus plugin, costs no call a thread."""
    inner = Answering(MemoryBackend(MemoryConfig()))
    assert getattr(ObservedLayer(inner, (), "memory"), name)(("k",)) == {name: ("k",)}


@pytest.mark.parametrize("name", LOOP_WAYS)
def test_observers_of_calls_are_told_of_what_event_loops_do(name: str) -> None:
    """Of a peek that answers; what would begin here and end elsewhere goes to a thread."""
    spy = Spy(SpyConfig())
    layer = ObservingLayer(Answering(MemoryBackend(MemoryConfig())), (spy,), "memory")
    answer = getattr(layer, name)(())
    assert (answer is None) != bool(spy.notes)
