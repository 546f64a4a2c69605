"""Whether a file is whole, asked before it is used."""

from __future__ import annotations

import sqlite3

from statekeep.errors import CorruptValue

from statekeep_sqlite.config import AUTO_CHECK_BYTES
from statekeep_sqlite.failures import look

SHOWN = 3
"""Problems named in the message; one damaged page leads to many."""


def verify(connection: sqlite3.Connection, path: str, mode: str) -> None:
    """Checks a file; opening it has already compared its header with its length.

    Args:
        connection: to the file.
        path: of the file.
        mode: `off`, `quick` (every page and row), `full` (every index against its table too), or
            `auto`: `quick` up to a size at which it is hardly felt.

    Raises:
        CorruptValue: the file is damaged.
    """
    file = look(path)
    if mode == "off" or (mode == "auto" and file and file.st_size > AUTO_CHECK_BYTES):
        return
    pragma = "integrity_check" if mode == "full" else "quick_check"
    problems = [text for (text,) in connection.execute(f"PRAGMA {pragma}({SHOWN})")]
    if problems != ["ok"]:
        raise CorruptValue(
            f"SQLite file {path} is damaged: {'; '.join(problems)}: restore a backup, or save "
            "what is left with `sqlite3 FILE .recover`"
        )
