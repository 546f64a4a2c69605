"""What is large, what grows, what waits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import timedelta

import pytest
import statekeep
from statekeep import RecordKind, Storage
from statekeep.census import OTHERS, groups, largest, queues, sizes

VALUE, SET, QUEUE = RecordKind.KEY_VALUE, RecordKind.KEY_SET, RecordKind.DEFERRED


@pytest.fixture
def storage() -> Iterator[Storage]:
    with statekeep.open({"memory": {}}) as storage:
        storage.values.put_many(
            {f"order/{number}": bytes(100 + number) for number in range(50)}
            | {"customer/1": bytes(30), "alone": bytes(7)}
        )
        storage.sets.add("tag/eu", *(b"%04d" % number for number in range(2500)))
        storage.sets.add("tag/us", b"12345")
        storage.deferred.schedule("timers", "late", due=timedelta(0), payload=bytes(9))
        storage.deferred.schedule("timers", "later", due=timedelta(hours=1), payload=bytes(90))
        storage.deferred.schedule("mail", "now", due=timedelta(0), payload=b"m")
        yield storage


def found(each: object) -> tuple[object, ...]:
    return tuple(getattr(each, name) for name in ("kind", "name", "records", "bytes"))


def test_the_largest_come_first_whatever_they_are(storage: Storage) -> None:
    """Values, sets with all their members, queues with all their messages."""
    assert [found(each) for each in largest(storage.backend, 4)] == [
        (SET, "tag/eu", 2500, 10_000),
        (VALUE, "order/49", 1, 149),
        (VALUE, "order/48", 1, 148),
        (VALUE, "order/47", 1, 147),
    ]
    assert (QUEUE, "timers", 2, 99) in map(found, largest(storage.backend, 1000))


def test_only_names_that_begin_so(storage: Storage) -> None:
    """Of every kind."""
    assert {each.name for each in sizes(storage.backend, "t")} == {"tag/eu", "tag/us", "timers"}
    assert [found(each) for each in largest(storage.backend, 1, "order/4")] == [
        (VALUE, "order/49", 1, 149)
    ]


def test_groups_sum_up_what_begins_alike(storage: Storage) -> None:
    """Up to the first separator, below a prefix the next one; a name without one stands alone."""
    whole = sum(100 + number for number in range(50))
    rows = [found(each) for each in groups(storage.backend, "/")]
    assert rows[0] == (SET, "tag/", 2501, 10_005)
    assert rows[1] == (VALUE, "order/", 50, whole)
    assert (VALUE, "alone", 1, 7) in rows and (QUEUE, "mail", 1, 1) in rows
    below = [found(each) for each in groups(storage.backend, "/", "tag/")]
    assert below == [(SET, "tag/eu", 2500, 10_000), (SET, "tag/us", 1, 5)]


def test_too_many_groups_are_one(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory stays bounded; nothing is left out of the sums."""
    monkeypatch.setattr("statekeep.census.MOST_GROUPS", 2)
    rows = groups(storage.backend, "/")
    assert {each.name for each in rows if each.kind is not VALUE} == {OTHERS}
    assert sum(each.bytes for each in rows) == sum(each.bytes for each in sizes(storage.backend))


def test_queues_tell_ready_from_held_from_waiting(storage: Storage) -> None:
    """And how long the oldest has been ready."""
    (message,) = storage.deferred.claim("mail", lease=timedelta(minutes=5))
    mail, timers = queues(storage.backend)
    assert (mail.queue, mail.messages, mail.ready, mail.held, mail.oldest) == (
        "mail",
        1,
        0,
        1,
        None,
    )
    assert (timers.queue, timers.messages, timers.ready, timers.held) == ("timers", 2, 1, 0)
    assert timers.oldest is not None and timedelta(0) <= timers.oldest < timedelta(minutes=1)
    storage.deferred.release(message, delay=timedelta(hours=1))
    mail, _ = queues(storage.backend)
    assert (mail.ready, mail.held) == (0, 0)
    assert [each.queue for each in queues(storage.backend, "t")] == ["timers"]


def test_sizes_are_those_of_the_stored_bytes() -> None:
    """What fills the store is compressed; and a damaged value is counted like any other."""
    with statekeep.open({"memory": {}, "compression": "gzip"}) as storage:
        storage.values.put("k", bytes(100_000))
        (found,) = sizes(storage.backend)
        assert 0 < found.bytes < 1000


def test_a_large_store_needs_little_memory(storage: Storage) -> None:
    """The largest are kept, and a page."""
    storage.values.put_many({f"n/{number:06}": b"" for number in range(30_000)})
    tracemalloc.start()
    try:
        largest(storage.backend, 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20
