"""The contract, in terms of one SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from statekeep.backend import LARGE_VALUE_BYTES, Backend, BackendStats, Capabilities, Target
from statekeep.clock import now_micros
from statekeep.errors import ConfigError, Unavailable, Unsupported
from statekeep.findings import Finding
from statekeep.model import DeferredMessage, Entry, Outcome, Page, Record, RecordKind, Transaction
from statekeep.usage import Usage

from statekeep_sqlite import doctor, integrity, messages, reads, scans, schema, upkeep, writes
from statekeep_sqlite.config import SqliteConfig
from statekeep_sqlite.driver import Database, knows_vfs, longest_row
from statekeep_sqlite.failures import look
from statekeep_sqlite.location import locate

ROW_OVERHEAD = 4096
"""Room in a row for a key, a version and the row's own header."""

SURVIVE_POWER_FAILURE = ("full", "extra")
PING = "SELECT value FROM statekeep_layout WHERE name = 'layout'"


class SqliteBackend(Backend):
    """State in one file, for any number of threads and processes of one machine.

    Args:
        config: which file, and how.
        clock: the current time in microseconds; tests set it back.

    Raises:
        ConfigError: the path is a URI that names a `vfs` which this SQLite does not have.
    """

    def __init__(self, config: SqliteConfig, clock: Callable[[], int] = now_micros) -> None:
        location = locate(config.path)
        vfs = location.parameters.get("vfs")
        if vfs is not None and not knows_vfs(vfs):
            raise ConfigError(
                f"SQLite file {location.path}: this SQLite has no vfs {vfs!r}: correct `path`"
            )
        read_only = config.read_only or location.read_only
        self._config = config
        self._clock = clock
        self._create = config.create and location.create and not read_only
        self._file: tuple[int, int] | None = None
        self._database = Database(
            location,
            synchronous=config.synchronous,
            busy_timeout=config.busy_timeout,
            mmap_size=config.mmap_size,
            read_only=read_only,
        )
        self._capabilities = Capabilities(
            # The others may forget the last transactions when the power fails.
            durable=config.synchronous in SURVIVE_POWER_FAILURE,
            shared=True,
            max_value_bytes=min(LARGE_VALUE_BYTES, longest_row() - ROW_OVERHEAD),
            read_only=read_only,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Everything; durable unless `synchronous` says otherwise."""
        return self._capabilities

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        return Target("sqlite", self._database.path)

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        return reads.get_many(self._database, keys, self._clock)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        return reads.members_many(self._database, keys)

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        return reads.members(self._database, key, limit, cursor)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        return reads.contains(self._database, key, members)

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        return reads.messages_many(self._database, names)

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        self._refuse_read_only()
        return messages.claim(self._database, queue, limit, lease, self._clock)

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        return scans.scan(self._database, kind, prefix, limit, cursor, self._clock)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        self._refuse_read_only()
        return writes.commit(self._database, transactions, self._clock)

    def missing(self) -> Sequence[str]:
        """The file, its tables and indexes, where they are not there."""
        path = self._database.path
        if look(path) is None:
            return (f"file {path}", *schema.Found(0, tuple(schema.COLUMNS)).phrases())
        with self._database.preparing(create=False) as connection:
            return schema.inspect(connection, path).phrases()

    def setup(self) -> None:
        """Opens the file, checks it, and creates what is missing.

        Raises:
            ConfigError: the folder is missing, the file is no database, holds foreign tables, is
                of a newer layout, or would have to be created and must not be.
            CorruptValue: the file is damaged.
            Unavailable: it is locked.
        """
        path = self._database.path
        with self._database.preparing(create=self._create) as connection:
            found = schema.inspect(connection, path)
            integrity.verify(connection, path, self._config.integrity_check)
            if not found.complete and not self._create:
                raise ConfigError(
                    f"SQLite file {path} lacks {', '.join(found.phrases())}, which must not be "
                    "created here (create = false, or read only)"
                )
            if not self._capabilities.read_only:
                self._database.use_wal(connection)
            if not found.complete:
                schema.create(connection, path)
        self._file = _identity(path)

    def ping(self) -> None:
        """See `Backend.ping`. Notices a file that was replaced while in use, too."""
        self._database.read(PING)
        if self._file is not None and _identity(self._database.path) != self._file:
            raise Unavailable(
                f"SQLite file {self._database.path} was removed or replaced while in use: what is "
                "written now is lost; open it again"
            )

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._database.pool_stats())

    def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        return upkeep.stats(self._database)

    def examine(self) -> Iterator[Finding]:
        """See `Backend.examine`."""
        return doctor.examine(self._database, self._config, self._clock)

    def purge(self) -> int:
        """See `Backend.purge`."""
        self._refuse_read_only()
        return upkeep.purge(self._database, self._clock)

    def close(self) -> None:
        """See `Backend.close`."""
        self._database.close()

    def _refuse_read_only(self) -> None:
        if self._capabilities.read_only:
            raise Unsupported(
                f"SQLite file {self._database.path} is opened read only; nothing was written"
            )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)
