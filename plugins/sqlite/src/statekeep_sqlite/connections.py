"""Connections to one file: opened on demand, kept, closed, and never carried over a fork.

No SQLite connection may cross a fork, not even idle or to be closed in the child. SQLite keeps its
file locks in a table of the process. A child inherits the table but not the locks, so a connection
that it opens to the same file would believe in locks that nobody holds, and another process could
delete the log below it (https://www.sqlite.org/howtocorrupt.html, 2.6). So every connection is
closed before a fork, and opened again on demand on both sides.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast
from weakref import WeakSet

from statekeep import fork
from statekeep.errors import Closed, PoolTimeout, StorageError, Unavailable
from statekeep.usage import PoolStats

from statekeep_sqlite.failures import translate
from statekeep_sqlite.location import Location

MAX_IDLE = 16
"""Readers kept open; each costs up to 2 MB of page cache and three open files."""

JOURNAL_BYTES = 64 * 2**20
"""A log that grew above this under load is cut back to it."""

FORK_PATIENCE = 10.0
"""How long a fork waits for calls of other threads to end, in seconds."""

FIRST_READ = "SELECT 1 FROM sqlite_master LIMIT 1"
"""Shows whether a file can be read: opening it shows little."""

_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process: neither used nor closed here, for both would be unsafe."""


class Connection(sqlite3.Connection):
    """One that can be referred to weakly."""

    __slots__ = ("__weakref__",)


class WriterLock:
    """One writer at a time, whatever interrupts it.

    An interrupt (Ctrl-C) can come after any call, so also between `acquire` and what follows it:
    the lock would be taken, nobody would know, and nobody could ever write again. So `acquire`
    belongs *into* the `try` whose `finally` calls `release`, first and at once, and which ignores
    the `RuntimeError` of a lock that was not taken. All three are functions of C, inside which no
    interrupt is raised. A thread that holds the lock could take it again: it must ask `held`.
    """

    __slots__ = ("acquire", "held", "release")

    def __init__(self) -> None:
        lock = threading.RLock()
        self.acquire = lock.acquire
        self.release = lock.release
        self.held: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]

    def busy(self) -> bool:
        """Whether some thread has it."""
        if self.held():
            return True
        try:
            return not self.acquire(False)
        finally:
            with suppress(RuntimeError):
                self.release()


class Connections:
    """Any number of readers, handed out last in first out, and one writer under a lock."""

    def __init__(
        self,
        location: Location,
        *,
        synchronous: str,
        busy_timeout: int,
        mmap_size: int,
        read_only: bool,
    ) -> None:
        self.location = location
        self.path = location.path
        self.read_only = read_only
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._mapped = f"PRAGMA mmap_size = {mmap_size}"
        self._idle: deque[sqlite3.Cursor] = deque()  # a new cursor for each read takes longer
        self._alive: WeakSet[Connection] = WeakSet()  # one lost by an interrupt is closed with it
        self._writer: Connection | None = None
        self._given: dict[int, int] = {}
        self._write_lock = WriterLock()
        self._open_lock = threading.Lock()
        self._forking: list[threading.Lock | WriterLock] = []
        self._waiting: set[int] = set()
        self._begin_counting()
        self._draining = False
        self._closed = False
        self._unsafe = False
        fork.register_pausing(self)

    def _begin_counting(self) -> None:
        self._opened = self._retired = self._failed = 0
        self._waits = self._wait_timeouts = 0
        self._wait_seconds = 0.0

    def pool_stats(self) -> PoolStats:
        """Connections; those waiting are callers that want to write."""
        alive, idle = len(self._alive), len(self._idle)
        writing = self._write_lock.busy()
        idle += self._writer is not None and not writing
        return PoolStats(
            in_use=max(alive - idle, 0),
            idle=idle,
            waiting=len(self._waiting),
            created=self._opened,
            closed=self._retired,
            failed=self._failed,
            waits=self._waits,
            wait_timeouts=self._wait_timeouts,
            wait_seconds=self._wait_seconds,
        )

    def close(self) -> None:
        """Closes what is idle now, and what is in use when it comes back."""
        self._closed = self._draining = True
        self._drain()
        if self._write_lock.held():  # called by a signal handler, in the middle of a write
            return
        try:
            self._write_lock.acquire()
            self._drop_writer()
        finally:
            with suppress(RuntimeError):
                self._write_lock.release()

    def before_fork(self) -> None:
        """Closes every connection, and lets none be opened until the fork is over."""
        deadline = time.monotonic() + FORK_PATIENCE
        self._forking = [
            lock
            for lock in (self._write_lock, self._open_lock)
            if not (lock is self._write_lock and lock.held())
            and lock.acquire(timeout=FORK_PATIENCE)
        ]
        self._draining = True
        if self._write_lock in self._forking:
            self._drop_writer()
        self._drain()
        while self._alive and time.monotonic() < deadline:
            time.sleep(0.001)

    def after_fork_in_parent(self) -> None:
        """Goes on; connections are opened when they are needed."""
        self._draining = self._closed
        while self._forking:
            self._forking.pop().release()

    def after_fork(self) -> None:
        """Goes on in the child, unless a call of another thread did not end before the fork."""
        self._write_lock, self._open_lock = WriterLock(), threading.Lock()
        self._draining = self._closed
        self._unsafe = self._unsafe or bool(self._alive)
        _leak(self._alive)
        self._forking, self._waiting = [], set()
        self._begin_counting()
        self._idle, self._alive, self._writer = deque(), WeakSet(), None

    def _reentered(self) -> Unavailable:
        return Unavailable(
            f"SQLite file {self.path}: a signal handler or finalizer wrote in the middle of "
            "another write of its thread; nothing of it was applied"
        )

    def _wait_for_writer(self) -> None:
        begun = time.monotonic()
        self._waits += 1
        self._waiting.add(threading.get_ident())
        try:
            acquired = self._write_lock.acquire(timeout=self._busy_timeout / 1000)
        finally:
            self._waiting.discard(threading.get_ident())
            self._wait_seconds += time.monotonic() - begun
        if not acquired:
            self._wait_timeouts += 1
            raise PoolTimeout(
                f"SQLite file {self.path}: other threads of this process were writing for "
                f"{self._busy_timeout} ms (busy_timeout); nothing was applied"
            )

    def _drain(self, keep: int = 0) -> None:
        with suppress(IndexError):
            while len(self._idle) > keep:
                self._retire(self._idle.pop().connection)

    def _shrink(self) -> None:
        """Called after a reader came back, where a fork or `close` waits or they are many.

        After, not before: whoever comes second sees the other.
        """
        self._drain(0 if self._draining else MAX_IDLE)

    def _drop_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            self._retire(connection)

    def _retire(self, connection: sqlite3.Connection) -> None:
        self._shut(connection)
        self._retired += 1

    def _shut(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            connection.close()
        # Only now: a fork waits until the last one is closed.
        self._alive.discard(cast(Connection, connection))

    def _open_reader(self) -> sqlite3.Cursor:
        return self._open("PRAGMA query_only = ON", self._mapped).cursor()

    def _open_writer(self) -> Connection:
        """A new writer, in place of one that was interrupted before the end of a transaction."""
        self._drop_writer()
        connection = self._open(
            f"PRAGMA synchronous = {self._synchronous}",
            self._mapped,
            f"PRAGMA journal_size_limit = {JOURNAL_BYTES}",
            "PRAGMA busy_timeout = 0",  # `_patiently` does the waiting
        )
        # In C: an interrupt that met Python code in here would be lost to SQLite's own error.
        connection.create_function("given", 2, self._given.setdefault)
        self._writer = connection
        return connection

    def _open(self, *pragmas: str, create: bool = False) -> Connection:
        try:
            if not self.read_only:
                return self._connect(self.location.uri("rwc" if create else "rw"), *pragmas)
            try:
                return self._connect(self.location.uri("ro"), FIRST_READ, *pragmas)
            except sqlite3.Error:
                if not self._on_read_only_disk():
                    raise
                return self._connect(self.location.uri("ro", immutable="1"), FIRST_READ, *pragmas)
        except sqlite3.Error as error:
            self._failed += 1
            raise self._translated(error) from error

    def _connect(self, uri: str, *statements: str) -> Connection:
        with self._open_lock:  # held by a fork, which must know every connection
            self._refuse_closed()
            connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=self._busy_timeout / 1000,
                isolation_level=None,
                check_same_thread=False,
                factory=Connection,
            )
            self._alive.add(connection)
        try:
            for statement in statements:
                connection.execute(statement).fetchall()
        except BaseException:
            self._shut(connection)
            raise
        self._opened += 1
        return connection

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Closed("this SQLite storage is closed; open another one")
        if self._unsafe:
            raise Unavailable(
                f"SQLite file {self.path}: this process was forked while another thread of its "
                "parent was reading; start it with spawn, or fork before that thread"
            )

    def _on_read_only_disk(self) -> bool:
        """Whether nobody can write the file, nor left a log beside it: then no lock is needed."""
        log = Path(f"{self.path}-wal")
        try:
            disk = os.statvfs(Path(self.path).parent).f_flag
            return bool(disk & os.ST_RDONLY) and not (log.exists() and log.stat().st_size)
        except (OSError, AttributeError):  # Windows has no statvfs
            return False

    def _translated(self, error: sqlite3.Error, *, committing: bool = False) -> StorageError:
        return translate(error, self.path, self._busy_timeout, committing=committing)


def _leak(connections: WeakSet[Connection]) -> None:
    """Keeps connections from ever being closed, even by the end of the interpreter."""
    _inherited.extend(connections)
    with suppress(ImportError):
        import ctypes

        for connection in connections:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
