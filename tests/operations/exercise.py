"""Every call of a storage once, for users who may do just that."""

from __future__ import annotations

from datetime import timedelta

import pytest
from statekeep import AccessDenied, Storage

NOW = timedelta(0)


def everything(storage: Storage) -> None:
    """Whoever may use statekeep may do all of this; nothing is left behind."""
    with storage.transaction() as tx:
        tx.put("state", b"1", expected=0)
        tx.put("passing", b"1", ttl=timedelta(hours=1))
        tx.add("set", b"a", b"b")
        tx.schedule("queue", "id", due=NOW)
    (message,) = storage.deferred.claim("queue")
    storage.deferred.extend(message, timedelta(minutes=1))
    storage.deferred.release(message)
    (message,) = storage.deferred.claim("queue")
    with storage.transaction() as tx:
        tx.check("state", tx_version(storage, "state"))
        tx.delete("passing")
        tx.remove("set", b"a")
        tx.acknowledge(message)
    read_everything(storage)
    storage.values.update("state", lambda value: b"2")
    storage.deferred.schedule("queue", "id", due=NOW)
    assert storage.deferred.cancel("queue", "id")
    storage.sets.remove("set", b"b")
    assert storage.values.delete("state")
    assert storage.purge() == 0


def tx_version(storage: Storage, key: str) -> int:
    """The version of a value that is there."""
    entry = storage.values.get(key)
    assert entry is not None
    return entry.version


def read_everything(storage: Storage) -> None:
    """Every call that reads, over the key-value `state` and the key-set `set` of `b`."""
    storage.ping()
    assert set(storage.values.get_many(["state", "absent"])) == {"state"}
    assert [key for key, _ in storage.values.scan()] == ["state"]
    assert storage.sets.members_many(["set", "no"]) == {"set": {b"b"}, "no": frozenset()}
    assert storage.sets.contains("set", b"b")
    assert [page.items for page in storage.sets.pages("set")] == [(b"b",)]
    assert list(storage.sets.scan()) == ["set"]
    assert list(storage.deferred.scan("queue")) == []
    assert storage.stats().kinds


def refused_writes(storage: Storage) -> None:
    """Whoever may only read gets AccessDenied from every call that writes."""
    for write in (
        lambda: storage.values.put("state", b"x"),
        lambda: storage.values.delete("state"),
        lambda: storage.sets.add("set", b"x"),
        lambda: storage.deferred.schedule("queue", "id", due=NOW),
    ):
        with pytest.raises(AccessDenied):
            write()
