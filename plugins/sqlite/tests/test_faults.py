"""Locks, full disks and disks that fail: the error says what happened, and it is true."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from statekeep.errors import (
    AccessDenied,
    Closed,
    ConfigError,
    CorruptValue,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    Unavailable,
)
from statekeep.storage import Storage
from statekeep_sqlite.failures import translate

Open = Callable[..., Storage]
Hold = Callable[..., Callable[[], None]]
DAY = timedelta(days=1)
NOBODY = 65534

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def hold(path: Path) -> Iterator[Hold]:
    """Lets another process hold the file; returns what ends that."""
    holders = []

    def begin(*statements: str) -> Callable[[], None]:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, path, *statements],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        holders.append(holder)
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"

        def end() -> None:
            holder.communicate(b"\n", timeout=30)

        return end

    yield begin
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_a_writer_elsewhere_is_waited_for_and_named(opened: Open, hold: Hold, path: Path) -> None:
    """Reads go on; a write is Unavailable after busy_timeout, and works when the lock is free."""
    storage = opened(busy_timeout=50)
    storage.values.put("key", b"1")
    end = hold("BEGIN IMMEDIATE")
    for write in (
        lambda: storage.values.put("key", b"2"),
        lambda: storage.values.put("key", b"2", expected=7),
        lambda: storage.values.put_many({"key": b"2", "other": b"2"}),
        lambda: storage.values.delete("key"),
        lambda: storage.purge(),
    ):
        with pytest.raises(Unavailable, match="another process") as caught:
            write()
        assert str(path) in str(caught.value) and "busy_timeout" in str(caught.value)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"1"
    end()
    storage.values.put("key", b"3")
    assert storage.values.get("other") is None


def test_a_lock_that_is_released_is_waited_for(opened: Open, hold: Hold) -> None:
    """Nobody notices but by the time it takes."""
    storage = opened(busy_timeout=30_000)
    end = hold("BEGIN IMMEDIATE")
    timer = threading.Timer(0.2, end)
    timer.start()
    storage.values.put("key", b"1")
    storage.values.put_many({"key": b"2", "other": b"2"})
    timer.join()


def test_a_file_locked_exclusively(opened: Open, hold: Hold) -> None:
    """Neither to be opened nor read: Unavailable, and it works after."""
    storage = opened(busy_timeout=50)
    storage.values.put("key", b"1")
    storage.close()
    end = hold("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match="locked"):
        opened(busy_timeout=50)
    end()
    assert opened(busy_timeout=50).values.get("key") is not None


def test_a_thread_that_writes_for_long(opened: Open) -> None:
    """The other writers of the process get Unavailable, and are counted while they wait."""
    storage = opened(busy_timeout=200)
    database = storage.backend._database  # type: ignore[attr-defined]  # to hold its writer

    def hold(_: object) -> int:
        waiting = threading.Thread(target=expect_unavailable, args=(storage,))
        waiting.start()
        seen = 0
        while waiting.is_alive():
            seen = max(seen, storage.stats().pool.waiting)
        waiting.join()
        return seen

    assert database.write(hold) == 1
    storage.values.put("key", b"")


def expect_unavailable(storage: Storage) -> None:
    with pytest.raises(Unavailable, match="other threads"):
        storage.values.put("key", b"")


def fill(storage: Storage) -> list[int]:
    """Writes numbered transactions until the disk is full; those acknowledged."""
    done: list[int] = []
    with pytest.raises(Unavailable, match="full"):
        for number in range(100_000):
            with storage.transaction() as tx:
                tx.put(f"value/{number}", b"%d " % number * 1000)
                tx.add("set", b"%d" % number)
                tx.schedule("queue", str(number), due=DAY, payload=b"%d" % number)
            done.append(number)
    with pytest.raises(Unavailable, match="full"):
        storage.values.put("alone", b"x" * 1_000_000)
    assert storage.values.get("alone") is None
    return done


def assert_whole(storage: Storage, done: list[int]) -> None:
    """Every acknowledged transaction is there, and nothing else."""
    assert {key for key, _ in storage.values.scan("value/")} == {f"value/{n}" for n in done}
    assert storage.sets.members("set") == {b"%d" % number for number in done}
    assert {message.id for message in storage.deferred.scan("queue")} == {str(n) for n in done}


def test_a_full_file(opened: Open) -> None:
    """At SQLite's own limit of pages: nothing half, reads go on, and so do writes after."""
    storage = opened()
    storage.values.put("first", b"")
    writer = storage.backend._database._writer  # type: ignore[attr-defined]  # to limit it
    writer.execute("PRAGMA max_page_count = 200")
    done = fill(storage)
    assert done
    assert_whole(storage, done)
    storage.backend._database._drop_writer()  # type: ignore[attr-defined]  # the limit goes too
    storage.values.put("after", b"")
    assert_whole(opened(integrity_check="full"), done)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk; test_a_full_file covers the same")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no mounts here ({mounted.stderr.decode().strip()}); see test_a_full_file")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(small_disk: Path, opened: Open) -> None:
    """The same where it is the disk that is full, with room again after a deletion."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 100_000)
    storage = opened(path=str(small_disk / "state.db"))
    done = fill(storage)
    assert done
    assert_whole(storage, done)
    ballast.unlink()
    storage.values.put("after", b"")
    storage.close()
    assert_whole(opened(path=str(small_disk / "state.db"), integrity_check="full"), done)


def test_a_read_only_disk(small_disk: Path, opened: Open) -> None:
    """Without a log beside it a file is read there without locks; writing is not possible."""
    file = str(small_disk / "state.db")
    storage = opened(path=file)
    storage.values.put("key", b"value")
    storage.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    reader = opened(path=file, read_only=True)
    assert reader.values.get("key") is not None
    assert list(reader.values.scan())
    reader.ping()
    reader.close()
    with pytest.raises(AccessDenied):
        opened(path=file).values.put("key", b"")
    with pytest.raises(AccessDenied):
        opened(path=str(small_disk / "other.db"))


def test_a_folder_that_may_not_be_entered(tmp_path: Path, opened: Open, path: Path) -> None:
    opened(path=str(path)).close()  # imports what the child may not be allowed to read
    folder = tmp_path / "closed" / "inner"
    folder.mkdir(parents=True)
    folder.parent.chmod(0)
    message = as_somebody_else(lambda: opened(path=str(folder / "state.db")))
    folder.parent.chmod(0o700)
    assert "no permission to enter" in message


def test_a_reader_without_permission_to_share_the_log_is_refused(opened: Open) -> None:
    """It could only read as if nobody wrote, and would never see what others write."""
    with tempfile.TemporaryDirectory() as folder:  # where others may enter, unlike tmp_path
        Path(folder).chmod(0o755)
        file = Path(folder, "state.db")
        opened(path=str(file)).close()
        assert as_somebody_else(lambda: opened(path=str(file), read_only=True)) == (
            f"SQLite file {file}: no permission to write the folder {folder}, which also readers "
            "need, for the files -wal and -shm that they share with writers"
        )


def as_somebody_else(call: Callable[[], object]) -> str:
    """The message of the AccessDenied that a call raises when its user is not root."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # root may do anything
        try:
            if os.getuid() == 0:
                os.setuid(NOBODY)
            call()
        except AccessDenied as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as answer:
        os.waitpid(child, 0)
        return answer.read()


def test_a_time_to_live_counts_from_the_write_not_from_the_wait_for_it(
    opened: Open, path: Path
) -> None:
    storage = opened(busy_timeout=10_000)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(1.0, other.rollback)
        end.start()
        storage.values.put("key", b"value", ttl=timedelta(seconds=1))
        assert storage.values.get("key") is not None
        end.join()


def sqlite_error(
    number: int, kind: type[sqlite3.Error] = sqlite3.OperationalError
) -> sqlite3.Error:
    error = kind("some text in any language")
    error.sqlite_errorcode = number
    return error


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (sqlite3.SQLITE_BUSY, Unavailable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable),
        (sqlite3.SQLITE_LOCKED, Unavailable),
        (sqlite3.SQLITE_FULL, Unavailable),
        (sqlite3.SQLITE_IOERR_WRITE, Unavailable),
        (sqlite3.SQLITE_NOMEM, Unavailable),
        (sqlite3.SQLITE_NOTADB, ConfigError),
        (sqlite3.SQLITE_CORRUPT_INDEX, CorruptValue),
        (sqlite3.SQLITE_READONLY_DIRECTORY, AccessDenied),
        (sqlite3.SQLITE_PERM, AccessDenied),
        (sqlite3.SQLITE_AUTH, AccessDenied),
        (sqlite3.SQLITE_TOOBIG, InvalidArgument),
        (sqlite3.SQLITE_MISUSE, StorageError),
    ],
)
def test_errors_are_told_by_their_code(number: int, kind: type[StorageError]) -> None:
    """Extended codes too; the file is always named."""
    found = translate(sqlite_error(number), "/data/s.db", 5000)
    assert type(found) is kind
    assert "/data/s.db" in str(found)


def test_a_disk_that_fails_during_a_commit_leaves_the_outcome_open(opened: Open) -> None:
    """The page that makes the transaction valid may have been written, or not."""
    error = sqlite_error(sqlite3.SQLITE_IOERR_FSYNC)
    assert type(translate(error, "s.db", 1, committing=True)) is OutcomeUnknown
    full = sqlite_error(sqlite3.SQLITE_FULL)
    assert type(translate(full, "s.db", 1, committing=True)) is Unavailable


class Failing:
    """A connection that fails at one statement."""

    def __init__(self, connection: sqlite3.Connection, at: str, error: sqlite3.Error) -> None:
        self._connection, self._at, self._error = connection, at, error

    def execute(self, sql: str, *parameters: object) -> object:
        if self._at in sql:
            raise self._error
        return self._connection.execute(sql, *parameters)  # type: ignore[arg-type]  # handed on

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


@pytest.mark.parametrize(
    ("at", "kind"), [("COMMIT", OutcomeUnknown), ("DELETE", Unavailable), ("BEGIN", Unavailable)]
)
def test_after_a_failure_the_writer_is_another_one(
    opened: Open, at: str, kind: type[StorageError]
) -> None:
    """What failed is undone, its connection closed, and the next write works."""
    storage = opened()
    storage.values.put("key", b"1")
    database = storage.backend._database  # type: ignore[attr-defined]  # to plant a defect
    broken = Failing(database._writer, at, sqlite_error(sqlite3.SQLITE_IOERR))
    database._alive.discard(database._writer)
    database._writer = broken
    with pytest.raises(kind), storage.transaction() as tx:
        tx.put("key", b"2")
        tx.put("other", b"2")
        tx.cancel("queue", "id")
    assert database._writer is not broken
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"1"
    storage.values.put_many({"key": b"3", "other": b"3"})


def test_tables_that_vanish_while_in_use(path: Path, opened: Open) -> None:
    """An error, and not an empty answer."""
    storage = opened()
    storage.values.put("key", b"")
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DROP TABLE key_value_storage")
    with pytest.raises(Unavailable, match="setup"):
        storage.values.get("key")
    with pytest.raises(Unavailable, match="setup"):
        storage.values.put("key", b"")
    storage.backend.setup()
    assert storage.values.get("key") is None


def test_closing_while_others_read(opened: Open) -> None:
    """Each call either answers or says Closed; no connection is left open."""
    storage = opened()
    storage.values.put("key", b"1")
    started, ended = threading.Semaphore(0), []

    def read() -> None:
        started.release()
        try:
            while True:
                assert storage.values.get("key") is not None
        except Closed:
            ended.append(True)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
        started.acquire()
    storage.close()
    for thread in threads:
        thread.join(30)
    assert ended == [True] * 4
    assert not storage.backend._database._alive  # type: ignore[attr-defined]  # no other way
