"""Several processes on one file, killed at any instant, or forked."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from statekeep.errors import StorageError, Unavailable
from statekeep.storage import Storage
from statekeep.testing.forks import in_child
from statekeep.usage import PoolStats
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend

Open = Callable[..., Storage]
ROUNDS = 20

OPEN = """
import sys
from datetime import timedelta
from statekeep.storage import Storage
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend
backend = SqliteBackend(SqliteConfig(path=sys.argv[1]))
backend.setup()
storage = Storage(backend)
"""
COUNT = f"""{OPEN}
for _ in range(200):
    storage.values.update("counter", lambda value: b"%d" % (int(value or b"0") + 1))
    storage.values.put(f"own/{{sys.argv[2]}}", b"")
"""
COMMIT = f"""{OPEN}
number = int(sys.argv[2])
while True:
    with storage.transaction() as tx:
        tx.put(f"value/{{number:09}}", b"%d " % number * 500, expected=0)
        tx.put("last", b"%d" % number)
        tx.add("set", b"%d" % number)
        tx.schedule("queue", str(number), due=timedelta(days=1))
    print(number, flush=True)
    number += 1
"""


def child(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_no_update_is_lost_between_processes(path: Path, opened: Open) -> None:
    """Four count on one key: every count is there, and every version was given once."""
    writers = [child(COUNT, path, number) for number in range(4)]
    errors = [writer.communicate(timeout=120)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    storage = opened(integrity_check="full")
    entry = storage.values.get("counter")
    assert entry is not None and entry.value == b"800"


def test_kill_at_any_instant(path: Path, opened: Open) -> None:
    """All acknowledged transactions are there, whole; at most one more; and the file is sound."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    acknowledged = -1
    for _ in range(ROUNDS):
        writer = child(COMMIT, path, acknowledged + 1)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first, writer.communicate()[1].decode()
        time.sleep(chance.random() * 0.1)
        writer.kill()
        lines = [first, *writer.stdout.read().splitlines(keepends=True)]
        writer.communicate()
        acknowledged = int([line for line in lines if line.endswith(b"\n")][-1])
        acknowledged = check_recovered(opened, acknowledged)


def check_recovered(opened: Open, acknowledged: int) -> int:
    """The number of the last transaction in the file, which is whole."""
    with opened(integrity_check="full") as storage:
        last = storage.values.get("last")
        assert last is not None
        number = int(last.value)
        # The writer may have been killed between its commit and its message about it.
        assert acknowledged <= number <= acknowledged + 1
        expected = range(number + 1)
        values = dict(storage.values.scan("value/"))
        assert list(values) == [f"value/{each:09}" for each in expected]
        assert all(values[f"value/{each:09}"].value == b"%d " % each * 500 for each in expected)
        assert storage.sets.members("set") == {b"%d" % each for each in expected}
        assert {each.id for each in storage.deferred.scan("queue")} == set(map(str, expected))
    return number


def forked(function: Callable[[], None]) -> int:
    """Runs the function in a forked child; its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest may have threads
        pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_carries_no_connection(path: Path, opened: Open) -> None:
    """Both sides open their own; the child's exit takes no lock from the parent."""
    storage = opened()
    storage.values.put("key", b"parent")
    database = storage.backend._database  # type: ignore[attr-defined]  # no other way to see it

    def use() -> None:
        assert not database._alive and database._writer is None
        storage.values.put("key", b"child")
        assert storage.stats().pool.idle
        storage.close()

    assert forked(use) == 0
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"child"
    storage.values.put("key", b"parent")
    assert opened(integrity_check="full").values.get("key") is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_during_a_read_that_does_not_end(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child says that it cannot go on, rather than to go on without locks."""
    monkeypatch.setattr("statekeep_sqlite.connections.FORK_PATIENCE", 0.01)
    storage = opened()
    storage.values.put("key", b"value")
    database = storage.backend._database  # type: ignore[attr-defined]  # to hold a reader

    def use() -> None:
        with pytest.raises(Unavailable, match="forked"):
            storage.values.get("key")
        with pytest.raises(Unavailable, match="forked"):
            storage.values.put("key", b"child")

    with database.snapshot() as connection:
        connection.execute("SELECT * FROM key_value_storage").fetchall()
        assert forked(use) == 0
    assert storage.values.get("key") is not None


def test_a_backend_that_is_dropped_is_freed(path: Path) -> None:
    """Nothing keeps it: neither the fork handlers nor its own connections."""
    import gc
    import weakref

    backend = SqliteBackend(SqliteConfig(path=str(path)))
    backend.setup()
    Storage(backend).values.put("key", b"")
    backend.close()
    alive = weakref.ref(backend._database)
    del backend
    gc.collect()
    assert alive() is None


def test_connections_are_counted_and_a_child_begins_at_zero(path: Path, opened: Open) -> None:
    """What was opened and not closed is there, also after the fork that closes all of them."""
    storage = opened()
    storage.values.put("k", b"v")
    storage.values.get("k")
    pool = storage.usage().pool
    assert pool.created - pool.closed == pool.in_use + pool.idle == 2
    failed = pool.failed

    def check() -> None:
        assert storage.usage().pool == PoolStats()
        storage.values.get("k")
        assert storage.usage().pool == PoolStats(idle=1, created=1)

    in_child(check, patience=30.0)
    pool = storage.usage().pool
    assert (pool.created, pool.in_use + pool.idle) == (pool.closed, 0)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(StorageError):
        storage.values.get("k")
    assert storage.usage().pool.failed > failed
    path.with_suffix(".away").rename(path)
