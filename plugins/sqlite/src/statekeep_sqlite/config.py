"""The options of the SQLite backend."""

from __future__ import annotations

from attrs import frozen
from statekeep.options import between, one_of, option

from statekeep_sqlite.location import path_problem

MIB = 2**20
AUTO_CHECK_BYTES = 64 * MIB
"""Up to this size a file is checked whole when it is opened: it takes about a tenth of a second."""


@frozen(kw_only=True)
class SqliteConfig:
    """One database file, which may hold other tables too."""

    path: str = option("statekeep.db", "the file: a path, or a `file:` URI of SQLite", path_problem)
    synchronous: str = option(
        "full",
        "what a commit waits for: full and extra survive a power failure, normal and off only "
        "the end of the process",
        one_of("full", "normal", "extra", "off"),
    )
    busy_timeout: int = option(
        5000,
        "milliseconds to wait while another writer holds the file",
        between(0, 3_600_000),
    )
    mmap_size: int = option(
        0,
        "bytes of the file to map into memory for reading: faster among millions of keys, but a "
        "disk that fails, or a file that somebody cuts short, then ends the process",
        between(0, 2**40),
    )
    read_only: bool = option(False, "read only: every write is refused")
    create: bool = option(True, "create the file and its tables where they are missing")
    integrity_check: str = option(
        "auto",
        "what to verify when opening: off, quick, full; auto is quick for files up to 64 MiB",
        one_of("auto", "off", "quick", "full"),
    )
