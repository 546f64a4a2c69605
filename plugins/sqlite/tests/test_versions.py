"""Versions are never given out again, whatever the clock and other programs do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from statekeep.clock import now_micros
from statekeep.model import Delete, Entry, KeyValueRecord, Put, Restore, Transaction
from statekeep.storage import Storage

Open = Callable[..., Storage]


def test_a_clock_set_back(opened: Open) -> None:
    """Deleted and created again under an earlier clock, in another process even."""
    times = [2_000_000_000]
    storage = opened(clock=lambda: times[0])
    versions = [storage.values.put("key", b""), storage.values.put("key", b"")]
    storage.values.delete("key")
    times[0] = 1_000
    versions.append(storage.values.put("key", b"", expected=0))
    storage.values.delete("key")
    again = opened(clock=lambda: 5)
    versions.append(again.values.put("key", b""))
    assert versions == sorted(set(versions))


def test_a_clock_set_back_over_an_expired_value(opened: Open) -> None:
    """Overwritten or purged, its versions are gone for good."""
    times = [10_000_000]
    storage = opened(clock=lambda: times[0])
    before = {
        key: storage.values.put(key, b"", ttl=timedelta(microseconds=5)) for key in ("a", "b")
    }
    times[0] += 10
    after = {"a": storage.values.put("a", b"")}
    assert storage.purge() == 1
    times[0] = 1
    after["b"] = storage.values.put("b", b"")
    assert all(after[key] > before[key] for key in before)


def test_a_value_deleted_by_hand(path: Path, opened: Open) -> None:
    """Also what somebody deletes with the sqlite3 shell is never given out again."""
    storage = opened(clock=lambda: 1)
    version = [storage.values.put("key", b"") for _ in range(10)][-1]
    with closing(sqlite3.connect(path)) as shell, shell:
        shell.execute("DELETE FROM key_value_storage")
    assert storage.values.put("key", b"") > version


def test_a_value_replaced_by_a_restored_one(opened: Open) -> None:
    """A restored version is older; once it is deleted, creation goes on above the newer."""
    storage = opened(clock=lambda: 1)
    version = [storage.values.put("key", b"") for _ in range(10)][-1]
    storage.backend.commit([Transaction((Restore(KeyValueRecord("key", Entry(b"", 1))),))])
    storage.values.delete("key")
    assert storage.values.put("key", b"") > version


def test_within_one_call(opened: Open) -> None:
    """Transactions that are committed together see one another's deletions."""
    storage = opened(clock=lambda: 7)
    pairs = [Transaction((operation,)) for operation in (Put("key", b"", 0), Delete("key"))] * 50
    outcomes = storage.backend.commit(pairs)
    versions = [outcome.versions["key"] for outcome in outcomes[::2]]  # type: ignore[union-attr]
    assert versions == list(range(7, 57))
    assert storage.values.put("key", b"") == 57


def test_expired_values_do_not_count_after_the_clock_moved(opened: Open) -> None:
    """A condition on a value that expired is a condition on an absent one."""
    times = [now_micros()]
    storage = opened(clock=lambda: times[0])
    storage.values.put("key", b"old", ttl=timedelta(seconds=1))
    times[0] += 2_000_000
    assert storage.values.get("key") is None
    assert storage.values.delete("key") is False
    storage.values.put("key", b"new", expected=0)
    assert storage.values.get("key") is not None
