"""What SQLite's error codes mean to the caller. Told by code, never by the text of a message."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from stat import S_ISDIR

from statekeep.errors import (
    AccessDenied,
    ConfigError,
    CorruptValue,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    Unavailable,
)

PRIMARY = 0xFF
"""The mask that leaves the primary code of an extended one."""

HARMLESS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_INTERRUPT,
    }
)
"""After these the connection is as good as before; after any other a new one is opened."""


def code(error: sqlite3.Error) -> int | None:
    """The primary error code; None where the error is not SQLite's but Python's module's."""
    extended = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & PRIMARY


def translate(
    error: sqlite3.Error, path: str, busy_timeout: int, *, committing: bool = False
) -> StorageError:
    """The error to raise instead, with the driver's as its cause.

    Args:
        error: what the driver raised.
        path: the file.
        busy_timeout: how long was waited for a lock, in milliseconds.
        committing: the failed statement ends a transaction. An I/O error there leaves open
            whether the last page that makes it valid has reached the disk.
    """
    number = code(error)
    where = f"SQLite file {path}"
    if number in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(
            f"{where} is locked by another process, still after {busy_timeout} ms (busy_timeout): "
            "look for a long transaction, a backup, or an open sqlite3 shell; nothing was applied"
        )
    if number == sqlite3.SQLITE_CANTOPEN:
        return cannot_open(path)
    if number == sqlite3.SQLITE_READONLY and not os.access(Path(path).parent, os.W_OK):
        return _folder_denied(path)
    if number == sqlite3.SQLITE_IOERR and committing:
        return OutcomeUnknown(
            f"{where}: the disk failed during a commit ({error}): it may or may not be applied"
        )
    if number is None and isinstance(error, sqlite3.OperationalError):
        return CorruptValue(f"{where}: a stored text is not UTF-8 ({error})")
    kind, text = _MEANINGS.get(number, (StorageError, "unexpected failure, nothing was applied"))
    return kind(f"{where}: {text} ({error})")


def look(path: str | Path) -> os.stat_result | None:
    """What the file system says of a file or folder; None where there is none.

    Raises:
        AccessDenied: it lies in a folder that may not be entered.
        ConfigError: the path cannot be one, such as a name that is too long.
    """
    try:
        return Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise AccessDenied(
            f"SQLite file {path}: no permission to enter the folder it is in"
        ) from error
    except OSError as error:
        raise ConfigError(f"SQLite file {path} cannot be opened: {error.strerror}") from error


def cannot_open(path: str) -> StorageError:
    """Why a file cannot be opened; SQLite has only one code for all reasons."""
    try:
        return _cannot_open(path, Path(path))
    except StorageError as error:
        return error


def _cannot_open(path: str, file: Path) -> StorageError:
    found, folder = look(file), look(file.parent)
    if found is not None and S_ISDIR(found.st_mode):
        return ConfigError(f"SQLite file {path} is a folder: name a file in it")
    if folder is None or not S_ISDIR(folder.st_mode):
        return ConfigError(
            f"SQLite file {path}: there is no folder {file.parent}: create it, or correct `path`"
        )
    if found is None and os.access(file.parent, os.W_OK):
        return ConfigError(
            f"SQLite file {path} does not exist, and it was not to be created "
            "(create = false, or read_only = true), or it was removed while in use"
        )
    denied = file.parent if found is None else file
    if not os.access(denied, os.R_OK):
        return AccessDenied(f"SQLite file {path}: no permission to read {denied}")
    if not os.access(file.parent, os.W_OK):
        return _folder_denied(path)
    if not os.access(denied, os.W_OK):
        return AccessDenied(f"SQLite file {path}: no permission to write {denied}")
    return Unavailable(
        f"SQLite file {path} cannot be opened: look at the limit of open files and at the "
        "permissions of the files beside it (-wal, -shm); nothing was applied"
    )


def _folder_denied(path: str) -> AccessDenied:
    return AccessDenied(
        f"SQLite file {path}: no permission to write the folder {Path(path).parent}, which also "
        "readers need, for the files -wal and -shm that they share with writers"
    )


_MEANINGS: dict[int | None, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_FULL: (Unavailable, "the disk is full; nothing was applied"),
    sqlite3.SQLITE_IOERR: (Unavailable, "the disk failed; nothing was applied"),
    sqlite3.SQLITE_NOMEM: (Unavailable, "out of memory; nothing was applied"),
    sqlite3.SQLITE_PROTOCOL: (Unavailable, "the lock could not be had; nothing was applied"),
    sqlite3.SQLITE_INTERRUPT: (Unavailable, "interrupted; nothing was applied"),
    sqlite3.SQLITE_SCHEMA: (Unavailable, "tables changed meanwhile; nothing was applied"),
    sqlite3.SQLITE_ERROR: (
        Unavailable,
        "a statement was refused, nothing was applied: a table is missing or was changed; "
        "`setup()` creates what is missing",
    ),
    sqlite3.SQLITE_NOTADB: (ConfigError, "is no SQLite database, or is encrypted"),
    sqlite3.SQLITE_CORRUPT: (
        CorruptValue,
        "is damaged: restore a backup, or save what is left with `sqlite3 FILE .recover`",
    ),
    sqlite3.SQLITE_READONLY: (
        AccessDenied,
        "cannot be written, nothing was applied: permissions, a read-only disk, or it was "
        "replaced while in use; `read_only = true` opens it for reading",
    ),
    sqlite3.SQLITE_PERM: (AccessDenied, "no permission; nothing was applied"),
    sqlite3.SQLITE_AUTH: (AccessDenied, "not authorized; nothing was applied"),
    sqlite3.SQLITE_TOOBIG: (InvalidArgument, "a value is larger than SQLite holds"),
}
