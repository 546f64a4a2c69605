"""Every statement sent to SQLite goes through here, and every error of it is translated here."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlencode

from statekeep.errors import ConfigError

from statekeep_sqlite.connections import MAX_IDLE, Connections
from statekeep_sqlite.failures import HARMLESS, code, look

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]

OLDEST = (3, 24, 0)
"""The first SQLite with upserts (2018)."""

LOOK_AGAIN = 0.0005, 0.002
"""Seconds between two looks at the lock of another process; at random, so that none is unlucky."""


class Database(Connections):
    """One file. Readers never wait for the writer, nor it for them (WAL)."""

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of one SELECT, which sees one instant."""
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = self._open_reader()
        try:
            rows = reader.execute(sql, parameters).fetchall()
        except BaseException as error:
            self._retire(reader.connection)
            if isinstance(error, sqlite3.Error):
                raise self._translated(error) from error
            raise
        self._idle.append(reader)
        if self._draining or len(self._idle) > MAX_IDLE:
            self._shrink()
        return rows

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which all SELECTs see one instant."""
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = self._open_reader()
        try:
            reader.execute("BEGIN")
            yield reader.connection
            reader.execute("COMMIT")
        except BaseException as error:
            self._retire(reader.connection)
            if isinstance(error, sqlite3.Error):
                raise self._translated(error) from error
            raise
        self._idle.append(reader)
        if self._draining or len(self._idle) > MAX_IDLE:
            self._shrink()

    def write_alone(self, sql: str, parameters: Sequence[Any]) -> int | None:
        """Runs one changing statement, which is a transaction by itself.

        Returns:
            The version that the statement wrote, or None where it changed no row. It tells so by
            `given(0, version)` where it inserts and `given(1, version)` where it updates, which
            counts if both were evaluated. RETURNING would do the same, and cost a tenth of the
            whole.
        """
        lock = self._write_lock
        if lock.held():
            raise self._reentered()
        try:
            if not lock.acquire(False):
                self._wait_for_writer()
            connection = self._writer
            if connection is None or connection.in_transaction:
                connection = self._open_writer()
            try:
                given = self._given
                given.clear()
                if not self._patiently(connection, sql, parameters).rowcount:
                    return None
                return given[1] if 1 in given else given.get(0)
            except sqlite3.Error as error:
                self._undo(connection, error)
                raise self._translated(error, committing=True) from error
        finally:
            try:  # noqa: SIM105  # `release` is to be the first call: see WriterLock
                lock.release()
            except RuntimeError:
                pass

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, run in a write transaction: committed, or undone by an exception."""
        lock = self._write_lock
        if lock.held():
            raise self._reentered()
        try:
            if not lock.acquire(False):
                self._wait_for_writer()
            connection = self._writer
            if connection is None or connection.in_transaction:
                connection = self._open_writer()
            committing = False
            try:
                self._patiently(connection, "BEGIN IMMEDIATE")
                result = work(connection)
                committing = True
                connection.execute("COMMIT")
                return result
            except BaseException as error:
                self._undo(connection, error)
                if isinstance(error, sqlite3.Error):
                    raise self._translated(error, committing=committing) from error
                raise
        finally:
            try:  # noqa: SIM105  # `release` is to be the first call: see WriterLock
                lock.release()
            except RuntimeError:
                pass

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
        look(self.path)  # before SQLite is asked, which has one code for all reasons
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
                self._given.clear()
                time.sleep(random.uniform(*LOOK_AGAIN))

    def _undo(self, connection: sqlite3.Connection, error: BaseException) -> None:
        """Rolls back; the writer is given up where that fails, or might not have been enough."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop_writer()
        if isinstance(error, sqlite3.Error) and code(error) not in HARMLESS:
            self._drop_writer()


def knows_vfs(name: str) -> bool:
    """Whether this SQLite has a file system interface (VFS) of that name; no file is touched."""
    try:
        with closing(sqlite3.connect(f"file::memory:?{urlencode({'vfs': name})}", uri=True)):
            return True
    except sqlite3.OperationalError:
        return False


def longest_row() -> int:
    """The most bytes that a row may have in this SQLite."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
