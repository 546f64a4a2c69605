"""What `examine()` looks at: the file, the disk and file system it is on, and what is in it."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from statekeep import examining
from statekeep.clock import MICROSECOND
from statekeep.examining import MOST_QUEUES, OVERDUE, Queue, advice, good, problem, unknown
from statekeep.findings import Finding

from statekeep_sqlite import integrity, mounts, schema
from statekeep_sqlite.config import AUTO_CHECK_BYTES, SqliteConfig
from statekeep_sqlite.connections import JOURNAL_BYTES
from statekeep_sqlite.driver import Database
from statekeep_sqlite.failures import look, translate

CHECKS = {
    "version": "SQLite's version, and bugs of it that damage files",
    "file-system": "what kind of file system the file is on",
    "disk-space": "room on the disk",
    "permissions": "who may read and write the file and those beside it",
    "journal_mode": "whether there is a write-ahead log",
    "synchronous": "what a commit waits for",
    "wal-size": "whether the log is taken into the file",
    "free-pages": "space in the file that nothing uses",
    "integrity": "whether the file is whole",
    **{name: examining.CHECKS[name] for name in ("expired", "queues", "leases", "attempts")},
}
WAL_RESET_FIXED = (3, 51, 3)
WAL_RESET_BACKPORTS = {(3, 44): 6, (3, 50): 7}
"""https://www.sqlite.org/wal.html#walresetbug: from 3.7.0 to 3.51.2, but for these branches."""

MIB = 2**20
GIB = 2**30
LITTLE_SPACE = 256 * MIB
MUCH_FREE = 64 * MIB

QUEUES = """
    WITH RECURSIVE names (queue) AS (
        SELECT min(queue) FROM deferred_message_storage
        UNION ALL
        SELECT (SELECT min(queue) FROM deferred_message_storage WHERE queue > names.queue)
        FROM names WHERE names.queue IS NOT NULL
    )
    SELECT queue FROM names WHERE queue IS NOT NULL LIMIT ?
"""
"""The names of the queues; each is one look into the primary key, whatever the queue holds."""

MESSAGES = """
    SELECT count(*), sum(visible <= :late), min(CASE WHEN visible <= :late THEN visible END),
        sum(visible <= :late AND token <> ''), sum(attempt >= :many), max(attempt)
    FROM (SELECT visible, attempt, token FROM deferred_message_storage
        WHERE queue = :queue ORDER BY visible LIMIT :most)
"""
EXPIRED = """
    SELECT count(*) FROM (
        SELECT 1 FROM key_value_storage WHERE expires <= ? LIMIT ?
    )
"""

Look = Callable[[], Iterable[Finding]]


def examine(
    database: Database, config: SqliteConfig, clock: Callable[[], int]
) -> Iterator[Finding]:
    """See `Backend.examine`."""
    path = database.path
    yield _version()
    yield _file_system(path)
    yield _disk_space(path)
    if look(path) is None:
        return
    yield _permissions(path, database.read_only)
    yield _synchronous(config)
    with database.preparing(create=False) as connection:
        looks: list[tuple[str, Look]] = [
            ("journal_mode", lambda: _journal(connection, path)),
            ("free-pages", lambda: _free_pages(connection, path)),
            ("integrity", lambda: _integrity(connection, path)),
        ]
        if schema.inspect(connection, path).complete:
            looks += [
                ("expired", lambda: _expired(connection, clock())),
                ("queues", lambda: _queues(connection, clock())),
            ]
        translated = (
            (check, lambda run=run: _translated(run, path, config.busy_timeout))
            for check, run in looks
        )
        yield from examining.examined(translated)


def _translated(run: Look, path: str, busy_timeout: int) -> Iterator[Finding]:
    try:
        yield from run()
    except sqlite3.Error as error:
        raise translate(error, path, busy_timeout) from error


def _version() -> Finding:
    version, found = sqlite3.sqlite_version_info, f"SQLite {sqlite3.sqlite_version}"
    branch = WAL_RESET_BACKPORTS.get(version[:2])
    if version >= WAL_RESET_FIXED or (branch is not None and version[2] >= branch):
        return good("version", found)
    return advice(
        "version",
        found,
        "before 3.51.3 a checkpoint that meets another one and a commit at the same instant can "
        "damage the file (seen only where it was forced)",
        "use a Python with SQLite 3.51.3 or newer, and keep backups; see "
        "https://www.sqlite.org/wal.html#walresetbug",
    )


def _file_system(path: str) -> Finding:
    kind = mounts.kind(Path(path).parent)
    if kind is None:
        return unknown("file-system", "this system does not say on what file system a folder is")
    if kind in mounts.NETWORK:
        return problem(
            "file-system",
            f"{kind}, over the network",
            "its locks and shared memory cannot be trusted: two machines damage the file",
            "path = a file on a disk of this machine; for several machines use a server",
        )
    if kind in mounts.PASSING:
        return advice(
            "file-system",
            kind,
            "it is gone when the machine or the container is started anew",
            "path = a file on a disk, in a container on a volume",
        )
    return good("file-system", kind)


def _disk_space(path: str) -> Finding:
    folder = Path(path).parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return unknown("disk-space", f"{folder}: {error.strerror}")
    file = look(path)
    size = 0 if file is None else file.st_size
    found = f"{free / MIB:.0f} MiB are free, the file has {size / MIB:.0f} MiB"
    if free < LITTLE_SPACE:
        return problem(
            "disk-space",
            found,
            "when the disk is full every write is Unavailable",
            f"make room: du -xh {shlex.quote(str(folder))} | sort -h | tail",
        )
    if free < size:
        return advice(
            "disk-space", found, "a VACUUM or a backup beside the file needs as much", "make room"
        )
    return good("disk-space", found)


def _permissions(path: str, read_only: bool) -> Finding:
    shared = [Path(f"{path}{ending}") for ending in ("", "-wal", "-shm")]
    there = [each for each in shared if each.exists()]
    denied = [each for each in (*there, Path(path).parent) if not os.access(each, os.W_OK)]
    if denied and not read_only:
        return problem(
            "permissions",
            f"no permission to write {', '.join(map(str, denied))}",
            "writes fail, and readers need the folder as well",
            f"chown {os.geteuid()} {shlex.join(map(str, denied))}",
        )
    opened = [each for each in there if each.stat().st_mode & stat.S_IWOTH]
    if opened:
        return problem(
            "permissions",
            f"everybody may write {', '.join(map(str, opened))}",
            "any user of this machine can change or damage the state",
            f"chmod o-w {shlex.join(map(str, opened))}",
        )
    return good("permissions", f"{stat.filemode(Path(path).stat().st_mode)}, and it can be used")


def _synchronous(config: SqliteConfig) -> Finding:
    if config.synchronous in ("full", "extra"):
        return good("synchronous", config.synchronous)
    severe = problem if config.synchronous == "off" else advice
    return severe(
        "synchronous",
        config.synchronous,
        "a power failure takes back the last transactions"
        + (" or damages the file" if config.synchronous == "off" else ""),
        'synchronous = "full" under [storage.sqlite]',
    )


def _journal(connection: sqlite3.Connection, path: str) -> Iterator[Finding]:
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        yield advice(
            "journal_mode",
            mode,
            "readers and the writer wait for each other; opening the storage turns the log on",
            f"sqlite3 {shlex.quote(path)} 'PRAGMA journal_mode = WAL'",
        )
        return
    yield good("journal_mode", mode)
    log = look(f"{path}-wal")
    size = 0 if log is None else log.st_size
    found = f"{size / MIB:.0f} MiB of log"
    if size <= JOURNAL_BYTES:
        yield good("wal-size", found)
        return
    severe = problem if size > GIB else advice
    yield severe(
        "wal-size",
        found,
        "a reader that never ends its transaction keeps the log from being taken into the file: "
        "reads get slower and the disk fills up",
        f"lsof {shlex.quote(path)} shows who has it open; when it ended: "
        f"sqlite3 {shlex.quote(path)} 'PRAGMA wal_checkpoint(TRUNCATE)'",
    )


def _free_pages(connection: sqlite3.Connection, path: str) -> Iterator[Finding]:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    found = f"{free * size / MIB:.0f} of {pages * size / MIB:.0f} MiB are unused"
    if free * size < MUCH_FREE or free * 2 < pages:
        yield good("free-pages", found)
        return
    yield advice(
        "free-pages",
        found,
        "what was deleted is used again, but not given back to the disk",
        f"sqlite3 {shlex.quote(path)} VACUUM (while nobody writes)",
    )


def _integrity(connection: sqlite3.Connection, path: str) -> Iterator[Finding]:
    file = look(path)
    if file is not None and file.st_size > AUTO_CHECK_BYTES:
        yield unknown(
            "integrity",
            f"not read whole: the file has {file.st_size / MIB:.0f} MiB",
            f"sqlite3 {shlex.quote(path)} 'PRAGMA quick_check'",
        )
        return
    integrity.verify(connection, path, "quick")
    yield good("integrity", "the file is whole (quick_check)")


def _expired(connection: sqlite3.Connection, now: int) -> Iterator[Finding]:
    most = examining.MANY_EXPIRED
    (count,) = connection.execute(EXPIRED, (now, most)).fetchone()
    yield examining.expired(count, count < most)


def _queues(connection: sqlite3.Connection, now: int) -> Iterator[Finding]:
    names = [name for (name,) in connection.execute(QUEUES, (MOST_QUEUES + 1,))]
    asked = {
        "late": now - OVERDUE // MICROSECOND,
        "many": examining.MANY_ATTEMPTS,
        "most": examining.MOST_MESSAGES,
    }
    found = [
        Queue.of(name, connection.execute(MESSAGES, {**asked, "queue": name}).fetchone())
        for name in names[:MOST_QUEUES]
    ]
    yield from examining.queues(found, now, examining.bounds(found, len(names) > MOST_QUEUES))
