"""Every call to `sqlite3`: connections, one writer, any number of readers, errors translated."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from statekeep.backend import PoolStats
from statekeep.errors import Closed, ConfigError, PoolTimeout, StorageError, Unavailable

from statekeep_sqlite import forking
from statekeep_sqlite.failures import HARMLESS, code, translate
from statekeep_sqlite.location import Location

Row: TypeAlias = tuple[Any, ...]

OLDEST = (3, 24, 0)
"""The first SQLite with upserts (2018)."""

MAX_IDLE = 16
"""Readers kept open; each costs up to 2 MB of page cache and three open files."""

JOURNAL_BYTES = 64 * 2**20
"""A log that grew above this under load is cut back to it."""

FORK_PATIENCE = 10.0
"""How long a fork waits for calls of other threads to end, in seconds."""

LOOK_AGAIN = 0.0005, 0.002
"""Seconds between two looks at the lock of another process; at random, so that none is unlucky."""

FIRST_READ = "SELECT 1 FROM sqlite_master LIMIT 1"
"""Shows whether a file can be read: opening it shows little."""

_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process: neither used nor closed here, for both would be unsafe."""


class Database:
    """One file. Readers never wait for the writer, nor it for them (WAL)."""

    def __init__(
        self, location: Location, *, synchronous: str, busy_timeout: int, read_only: bool
    ) -> None:
        self.location = location
        self.path = location.path
        self.read_only = read_only
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._idle: deque[sqlite3.Connection] = deque()
        self._alive: set[sqlite3.Connection] = set()
        self._writer: sqlite3.Connection | None = None
        self._given = [0]
        self._write_lock = threading.Lock()
        self._open_lock = threading.Lock()
        self._waiting = 0
        self._draining = False
        self._closed = False
        self._unsafe = False
        forking.register(self)

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of one SELECT, which sees one instant."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open_reader()
        try:
            rows = connection.execute(sql, parameters).fetchall()
        except BaseException as error:
            self._retire(connection)
            if isinstance(error, sqlite3.Error):
                raise self._translated(error) from error
            raise
        self._give_back(connection)
        return rows

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which all SELECTs see one instant."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open_reader()
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            self._retire(connection)
            if isinstance(error, sqlite3.Error):
                raise self._translated(error) from error
            raise
        self._give_back(connection)

    def write_alone(self, sql: str, parameters: Sequence[Any]) -> int | None:
        """Runs one changing statement, which is a transaction by itself.

        Returns:
            What the statement last gave to its function `given`, or None where it changed no row.
            So a statement tells the version that it writes; RETURNING would do the same, and cost
            a tenth of the whole.
        """
        if not self._write_lock.acquire(False):
            self._wait_for_writer()
        try:
            connection = self._writer or self._open_writer()
            try:
                changed = self._patiently(connection, sql, parameters).rowcount
                return self._given[0] if changed else None
            except sqlite3.Error as error:
                self._undo(connection, error)
                raise self._translated(error, committing=True) from error
        finally:
            self._write_lock.release()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed at the end of the block, undone by an exception."""
        if not self._write_lock.acquire(False):
            self._wait_for_writer()
        try:
            connection = self._writer or self._open_writer()
            committing = False
            try:
                self._patiently(connection, "BEGIN IMMEDIATE")
                yield connection
                committing = True
                connection.execute("COMMIT")
            except BaseException as error:
                self._undo(connection, error)
                if isinstance(error, sqlite3.Error):
                    raise self._translated(error, committing=committing) from error
                raise
        finally:
            self._write_lock.release()

    @contextmanager
    def preparing(self, *, create: bool) -> Iterator[sqlite3.Connection]:
        """A connection of its own for `setup` and `missing`.

        Raises:
            ConfigError: the file does not exist (and is not to be created) or is no database.
            Unavailable: it is locked.
        """
        if sqlite3.sqlite_version_info < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old, {oldest} is needed")
        connection = self._open(create=create)
        try:
            yield connection
        except sqlite3.Error as error:
            raise self._translated(error) from error
        finally:
            self._retire(connection)

    def use_wal(self, connection: sqlite3.Connection) -> None:
        """Switches the file to a write-ahead log; it stays so."""
        (mode,) = self._patiently(connection, "PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise ConfigError(
                f"SQLite file {self.path} cannot use a write-ahead log (its journal is {mode!r}): "
                "is it on a network disk? It must be on a disk of this machine"
            )

    def pool_stats(self) -> PoolStats:
        """Connections; those waiting are callers that want to write."""
        alive, idle = len(self._alive), len(self._idle)
        writing = self._write_lock.locked()
        idle += self._writer is not None and not writing
        return PoolStats(in_use=max(alive - idle, 0), idle=idle, waiting=self._waiting)

    def close(self) -> None:
        """Closes what is idle now, and what is in use when it comes back."""
        self._closed = self._draining = True
        with self._write_lock:
            self._drain()
            self._drop_writer()

    def before_fork(self) -> None:
        """Closes every connection, and lets none be opened until the fork is over."""
        deadline = time.monotonic() + FORK_PATIENCE
        self._write_lock.acquire()
        self._open_lock.acquire()
        self._draining = True
        self._drop_writer()
        self._drain()
        while self._alive and time.monotonic() < deadline:
            time.sleep(0.001)

    def after_fork_in_parent(self) -> None:
        """Goes on; connections are opened when they are needed."""
        self._draining = self._closed
        self._open_lock.release()
        self._write_lock.release()

    def after_fork(self) -> None:
        """Goes on in the child, unless a call of another thread did not end before the fork."""
        self._write_lock, self._open_lock = threading.Lock(), threading.Lock()
        self._draining, self._waiting = self._closed, 0
        self._unsafe = self._unsafe or bool(self._alive)
        _leak(self._alive)
        self._alive = set()

    def _patiently(
        self, connection: sqlite3.Connection, sql: str, parameters: Sequence[Any] = ()
    ) -> sqlite3.Cursor:
        """Runs a statement that needs the lock of the file, again until it gets it.

        SQLite's own waiting sleeps up to 100 ms between two looks, and so finds a file that others
        write without pause locked for seconds; nor does it always wait (a switch to WAL).
        """
        deadline = 0.0
        while True:
            try:
                return connection.execute(sql, parameters)
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                deadline = deadline or now + self._busy_timeout / 1000
                if code(error) != sqlite3.SQLITE_BUSY or now >= deadline:
                    raise
                time.sleep(random.uniform(*LOOK_AGAIN))

    def _wait_for_writer(self) -> None:
        self._waiting += 1
        try:
            acquired = self._write_lock.acquire(timeout=self._busy_timeout / 1000)
        finally:
            self._waiting -= 1
        if not acquired:
            raise PoolTimeout(
                f"SQLite file {self.path}: other threads of this process were writing for "
                f"{self._busy_timeout} ms (busy_timeout); nothing was applied"
            )

    def _undo(self, connection: sqlite3.Connection, error: BaseException) -> None:
        """Rolls back; the writer is given up where that fails, or might not have been enough."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop_writer()
        if isinstance(error, sqlite3.Error) and code(error) not in HARMLESS:
            self._drop_writer()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) >= MAX_IDLE:
            self._retire(connection)
            return
        self._idle.append(connection)
        if self._draining:  # looked at after the append: whoever comes second sees the other
            self._drain()

    def _drain(self) -> None:
        with suppress(IndexError):
            while True:
                self._retire(self._idle.pop())

    def _drop_writer(self) -> None:
        connection, self._writer = self._writer, None
        if connection is not None:
            self._retire(connection)

    def _retire(self, connection: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            connection.close()
        self._alive.discard(connection)  # only now: a fork waits until the last one is closed

    def _open_reader(self) -> sqlite3.Connection:
        return self._open("PRAGMA query_only = ON")

    def _open_writer(self) -> sqlite3.Connection:
        connection = self._open(
            f"PRAGMA synchronous = {self._synchronous}",
            f"PRAGMA journal_size_limit = {JOURNAL_BYTES}",
            "PRAGMA busy_timeout = 0",  # `_patiently` does the waiting
        )
        connection.create_function("given", 1, _noting(self._given))
        self._writer = connection
        return connection

    def _open(self, *pragmas: str, create: bool = False) -> sqlite3.Connection:
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
            raise self._translated(error) from error

    def _connect(self, uri: str, *statements: str) -> sqlite3.Connection:
        with self._open_lock:  # held by a fork, which must know every connection
            self._refuse_closed()
            connection = sqlite3.connect(
                uri,
                uri=True,
                timeout=self._busy_timeout / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
            self._alive.add(connection)
        try:
            for statement in statements:
                connection.execute(statement).fetchall()
        except BaseException:
            self._retire(connection)
            raise
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
        file = Path(self.path)
        log = Path(f"{self.path}-wal")
        return (
            self.read_only
            and file.is_file()
            and not os.access(file.parent, os.W_OK)
            and not (log.exists() and log.stat().st_size)
        )

    def _translated(self, error: sqlite3.Error, *, committing: bool = False) -> StorageError:
        return translate(error, self.path, self._busy_timeout, committing=committing)


def longest_row() -> int:
    """The most bytes that a row may have in this SQLite."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)


def _noting(given: list[int]) -> Callable[[int], int]:
    """The SQL function `given`. It refers to no database, so that it keeps none alive."""

    def note(version: int) -> int:
        given[0] = version
        return version

    return note


def _leak(connections: set[sqlite3.Connection]) -> None:
    """Keeps connections from ever being closed, even by the end of the interpreter."""
    _inherited.extend(connections)
    with suppress(ImportError):
        import ctypes

        for connection in connections:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
