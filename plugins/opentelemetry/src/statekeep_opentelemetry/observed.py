"""What is observed when the application's reader collects: names, units, and where samples are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TypeAlias

from attrs import frozen
from statekeep.metrics import TASKS
from statekeep.usage import Usage

Samples: TypeAlias = Iterable[tuple[Mapping[str, str], float]]
"""Attributes of their own, and the value."""


class Kind(Enum):
    """How a value behaves."""

    GROWS = "counter"
    CHANGES = "up-down counter"


@frozen
class Instrument:
    """An asynchronous instrument; samples are those of one storage."""

    kind: Kind
    name: str
    unit: str
    description: str
    samples: Callable[[Usage], Samples]


def _of_pool(attribute: str) -> Callable[[Usage], Samples]:
    def samples(usage: Usage) -> Samples:
        value = getattr(usage.pool, attribute)
        return [] if value is None else [({}, value)]

    return samples


def _of_calls(attribute: str, **labels: str) -> Callable[[Usage], Samples]:
    own = {f"statekeep.{name}": value for name, value in labels.items()}
    return lambda usage: (
        ({"db.operation.name": operation, **own}, getattr(calls, attribute))
        for operation, calls in usage.calls.items()
        if operation not in TASKS  # those waited for the same calls
    )


def _of_caches(attribute: str) -> Callable[[Usage], Samples]:
    return lambda usage: (
        ({"statekeep.record.kind": kind}, getattr(cache, attribute))
        for kind, cache in usage.caches.items()
    )


def _connections(usage: Usage) -> Samples:
    state = "db.client.connection.state"
    return [({state: "used"}, usage.pool.in_use), ({state: "idle"}, usage.pool.idle)]


def _io(usage: Usage) -> Samples:
    yield from _of_calls("bytes_read", direction="read")(usage)
    yield from _of_calls("bytes_written", direction="write")(usage)


def _values(usage: Usage) -> Samples:
    moved = usage.compression
    if moved is None:
        return
    direction, form = "statekeep.direction", "statekeep.form"
    yield {direction: "write", form: "plain"}, moved.written
    yield {direction: "write", form: "stored"}, moved.written_stored
    yield {direction: "read", form: "plain"}, moved.read
    yield {direction: "read", form: "stored"}, moved.read_stored


def _lookups(usage: Usage) -> Samples:
    for kind, cache in usage.caches.items():
        own = {"statekeep.record.kind": kind}
        yield {**own, "statekeep.cache.result": "hit"}, cache.hits
        yield {**own, "statekeep.cache.result": "miss"}, cache.misses


def _grows(name: str, unit: str, text: str, samples: Callable[[Usage], Samples]) -> Instrument:
    return Instrument(Kind.GROWS, name, unit, text, samples)


def _changes(name: str, unit: str, text: str, samples: Callable[[Usage], Samples]) -> Instrument:
    return Instrument(Kind.CHANGES, name, unit, text, samples)


INSTRUMENTS = (
    _changes(
        "db.client.connection.count",
        "{connection}",
        "The number of connections that are currently in state described by the `state` attribute.",
        _connections,
    ),
    _changes(
        "db.client.connection.max",
        "{connection}",
        "The maximum number of open connections allowed.",
        _of_pool("limit"),
    ),
    _changes(
        "db.client.connection.pending_requests",
        "{request}",
        "The number of current pending requests for an open connection.",
        _of_pool("waiting"),
    ),
    _grows(
        "db.client.connection.timeouts",
        "{timeout}",
        "The number of connection timeouts that have occurred trying to obtain a connection "
        "from the pool.",
        _of_pool("wait_timeouts"),
    ),
    _grows("statekeep.pool.waits", "{wait}", "Callers that had to wait.", _of_pool("waits")),
    _grows("statekeep.pool.wait_time", "s", "How long they waited.", _of_pool("wait_seconds")),
    _grows("statekeep.pool.connects", "{connection}", "Connections opened.", _of_pool("created")),
    _grows(
        "statekeep.pool.connect_failures",
        "{attempt}",
        "Attempts to connect that failed.",
        _of_pool("failed"),
    ),
    _grows(
        "statekeep.retries",
        "{retry}",
        "How often values.update began again, as another writer had come between.",
        lambda usage: [({}, usage.retries)],
    ),
    _grows(
        "statekeep.records",
        "{record}",
        "Keys asked for, operations committed, messages claimed, records scanned.",
        _of_calls("records"),
    ),
    _grows("statekeep.io", "By", "Bytes of values, members and payloads.", _io),
    _grows(
        "statekeep.value.io",
        "By",
        "Bytes of values and payloads as callers know them (plain) and as the store does.",
        _values,
    ),
    _grows("statekeep.cache.lookups", "{lookup}", "Look-ups in the cache.", _lookups),
    _grows(
        "statekeep.cache.evictions",
        "{entry}",
        "Entries that made room for others.",
        _of_caches("evictions"),
    ),
    _changes("statekeep.cache.entries", "{entry}", "Entries in the cache.", _of_caches("size")),
    _changes("statekeep.cache.size", "By", "Bytes in the cache.", _of_caches("bytes")),
)
"""Those named `db.client.*` are the conventions' own."""
