"""Spans: names and attributes of the conventions, and where they hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import statekeep.aio
from attrs import frozen
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from statekeep import LeaseLost, Unavailable, VersionConflict, hookimpl
from statekeep.compose import compose
from statekeep.config import load
from statekeep.hookspecs import ObserverPlugin
from statekeep.observer import CallEnd, CallObserver, Watched
from statekeep.registry import Registry

from plugins.opentelemetry.tests.conftest import Open, Told
from tests.servers.redis import RedisProcess

application = trace.get_tracer("the application")


def attributes(told: Told) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in told.spans]


def test_a_span_is_named_and_described_by_the_conventions(
    observed: Open, told: Told, server: RedisProcess
) -> None:
    """On a server: system, address, port, namespace, operation."""
    storage = observed({"redis": {"host": "127.0.0.1", "port": server.port, "database": 3}})
    storage.values.get("k")
    (span,) = told.spans
    assert span.name == "get 3"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "db.system.name": "redis",
        "db.namespace": "3",
        "db.operation.name": "get",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    scope = span.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version) == ("statekeep", statekeep.__version__)
    assert scope.schema_url and scope.schema_url.startswith("https://opentelemetry.io/schemas/")


def test_a_file_is_a_namespace_without_a_server(observed: Open, told: Told, tmp_path: Path) -> None:
    """SQLite has no address."""
    observed().ping()
    path = str(tmp_path / "state.db")
    assert attributes(told) == [
        {"db.system.name": "sqlite", "db.namespace": path, "db.operation.name": "ping"}
    ]
    assert told.spans[0].name == f"ping {path}"


def test_a_batch_says_its_size_from_two_on_and_an_answer_how_much_it_is(
    observed: Open, told: Told
) -> None:
    """The convention wants no batch of one."""
    storage = observed()
    storage.values.get_many(["a", "b", "c"])
    storage.values.put("a", b"1")
    with storage.transaction() as tx:
        tx.put("a", b"2")
        tx.add("tag", b"a")
    storage.deferred.schedule("q", "1", due=timedelta(0))
    storage.deferred.claim("q", limit=5)
    size, rows = "db.operation.batch.size", "db.response.returned_rows"
    found = {
        each["db.operation.name"]: (each.get(size), each.get(rows)) for each in attributes(told)
    }
    assert found == {
        "get_many": (3, None),
        "put": (None, None),
        "transaction": (2, None),
        "schedule": (None, None),
        "claim": (None, 1),
    }


def test_an_error_is_named_by_its_class_and_its_text_stays_out(observed: Open, told: Told) -> None:
    """As the texts of errors name keys, and spans must not."""
    storage = observed()
    version = storage.values.put("secret-key", b"secret-value")
    storage.deferred.schedule("secret-queue", "secret-id", due=timedelta(0))
    (message,) = storage.deferred.claim("secret-queue")
    storage.deferred.acknowledge(message)
    told.clear()
    with pytest.raises(VersionConflict, match="secret-key"):
        storage.values.put("secret-key", b"secret-value", expected=version + 7)
    with pytest.raises(LeaseLost, match="secret-id"):
        storage.deferred.acknowledge(message)
    assert [each["error.type"] for each in attributes(told)] == ["VersionConflict", "LeaseLost"]
    for span in told.spans:
        assert span.status.status_code is StatusCode.ERROR
        assert "secret" not in json.dumps(json.loads(span.to_json()))


def test_a_server_that_is_gone_is_an_error(observed: Open, told: Told) -> None:
    """The span ends as well, and what was current before is current again."""
    with RedisProcess() as own:
        storage = observed({"redis": {"host": "127.0.0.1", "port": own.port, "timeout": 300}})
    with application.start_as_current_span("request") as request:
        with pytest.raises(Unavailable):
            storage.values.get("k")
        assert trace.get_current_span() is request
    get, _ = told.spans
    assert (get.attributes or {})["error.type"] == "Unavailable"
    assert get.status.status_code is StatusCode.ERROR


def test_no_key_and_no_value_is_in_any_span(observed: Open, told: Told) -> None:
    """Whatever is called."""
    storage = observed()
    storage.values.put("secret", b"secret")
    storage.values.get_many(["secret", "secret2"])
    storage.sets.add("secret", b"secret")
    storage.sets.contains("secret", b"secret")
    storage.sets.page("secret", limit=10)
    storage.deferred.schedule("secret", "secret", due=timedelta(0), payload=b"secret")
    list(storage.values.scan("secret"))
    assert len(told.spans) == 7
    assert not any("secret" in span.to_json() for span in told.spans)


@frozen(kw_only=True)
class DriverConfig:
    """Nothing to say."""


class Driver(CallObserver):
    """Stands where an instrumented driver would make its spans: inside the call."""

    def __init__(self, config: DriverConfig) -> None:
        self._tracer = trace.get_tracer("a driver")

    def opened(self, watched: Watched) -> None:
        pass

    def close(self) -> None:
        pass

    def begun(self, operation: str) -> None:
        self._tracer.start_span("command").end()

    def ended(self, end: CallEnd, begun: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    """The installed plugins, and the driver's stand-in."""
    registry = Registry()
    plugin = ObserverPlugin(name="driver", config=DriverConfig, factory=Driver)
    registry.register(SimpleNamespace(statekeep_observers=hookimpl(lambda: [plugin])), "test")
    return registry


def test_a_call_is_inside_the_applications_span_and_around_the_drivers(
    told: Told, registry: Registry, tmp_path: Path
) -> None:
    """So that a trace reads from the request to the command."""
    source = {
        "sqlite": {"path": str(tmp_path / "state.db")},
        "observers": {"opentelemetry": {}, "driver": {}},
    }
    with compose(load(source, registry=registry), registry) as storage:
        told.clear()
        with application.start_as_current_span("request"):
            storage.values.get("k")
    command, get, request = told.spans
    assert get.name.startswith("get ")
    assert request.parent is None
    assert get.parent is not None and get.parent == request.get_span_context()
    assert command.parent is not None and command.parent == get.get_span_context()


def test_a_span_outside_of_any_other_is_a_root(observed: Open, told: Told) -> None:
    """And leaves nothing current."""
    observed().ping()
    (span,) = told.spans
    assert span.parent is None
    assert not trace.get_current_span().get_span_context().is_valid


def test_with_asyncio_a_call_that_travels_alone_is_inside_its_tasks_span(
    told: Told, tmp_path: Path
) -> None:
    """Reads, writes, and whatever else."""

    async def work() -> None:
        config = {
            "sqlite": {"path": str(tmp_path / "state.db")},
            "observers": {"opentelemetry": {}},
        }
        async with statekeep.aio.open(config) as storage:
            told.clear()
            with application.start_as_current_span("task"):
                await storage.values.put("k", b"v")
                await storage.values.get("k")
                await storage.sets.members("s")
                await storage.deferred.claim("q")
                await storage.ping()

    asyncio.run(work())
    *calls, task = told.spans
    names = [span.name.split()[0] for span in calls]
    assert names == ["put", "get", "members", "claim", "ping"]
    assert [span.parent for span in calls] == [task.get_span_context()] * 5


def test_with_asyncio_calls_that_travel_together_are_nobodys(told: Told, tmp_path: Path) -> None:
    """And no task gets another's context."""
    tasks = 30

    async def work(storage: statekeep.aio.AsyncStorage, number: int) -> None:
        with application.start_as_current_span(f"task {number}") as own:
            await storage.values.get(f"k{number}")
            await storage.sets.page(f"s{number}", limit=1)
            assert trace.get_current_span() is own

    async def all_of_them() -> None:
        source = {
            "sqlite": {"path": str(tmp_path / "state.db")},
            "observers": {"opentelemetry": {}},
        }
        async with statekeep.aio.open(source) as storage:
            told.clear()
            await asyncio.gather(*(work(storage, number) for number in range(tasks)))

    asyncio.run(all_of_them())
    of_tasks = {span.context.span_id for span in told.spans if span.name.startswith("task")}
    pages = [span for span in told.spans if span.name.startswith("page ")]
    assert len(pages) == len(of_tasks) == tasks
    assert {span.parent.span_id for span in pages if span.parent} == of_tasks
    together = [span for span in told.spans if span.name.startswith("get_many ")]
    assert together and all(span.parent is None for span in together)
    assert (
        sum(int((span.attributes or {})["db.operation.batch.size"]) for span in together) <= tasks
    )


def test_spans_can_be_left_out(observed: Open, told: Told) -> None:
    """Durations are told all the same."""
    storage = observed(spans=False)
    storage.values.get("k")
    assert told.spans == ()
    namespace = str(storage.backend.target)
    assert told.point("db.client.operation.duration", db__namespace=namespace).count == 1
