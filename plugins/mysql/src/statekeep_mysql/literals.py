"""Values as SQL writes them. Bytes and texts are hexadecimal: nothing in them can end a literal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from statekeep.clock import MAX_MICROS

T = TypeVar("T")

NOW = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))"
"""The server's clock in microseconds as the statement began; of no time zone, good past 2038."""

LIVE = f"(expires IS NULL OR expires>{NOW})"
"""Whether a value has not expired, as a statement begins."""

LIVE_THEN = LIVE.replace(NOW, "@now")
"""Whether it had not at an instant that `SET @now` noted: the same for several statements."""

MOST_CHARACTERS = 2**19
"""A statement of many rows is cut into several near this size; a single row may be larger."""


def text(value: str) -> str:
    """A key, queue or id."""
    return f"x'{value.encode().hex()}'"


def data(value: bytes) -> str:
    """Bytes of any content."""
    return f"x'{value.hex()}'"


def quoted(value: str) -> str:
    """A text that is compared with texts of the server; needs backslash escapes (`sql_mode`)."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def later(micros: int) -> str:
    """So many microseconds from now, at most the last moment of a datetime."""
    return f"LEAST({NOW}+{micros},{MAX_MICROS})"


def lists(items: Iterable[str]) -> Iterator[str]:
    """The items with commas between them, in pieces of about a size."""
    return map(",".join, pieces(items, len))


def among(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[tuple[str, int]]:
    """Conditions that hold for these rows, in pieces of about a size, each with its number of rows.

    A single row is compared column by column: for `(a,b) IN ((1,2))` MariaDB finds no index where
    it changes rows, and so reads all of them and waits for each that another has locked (10.11;
    two rows and more, and SELECT, go by the index).
    """
    for piece in pieces(rows, lambda row: sum(map(len, row))):
        yield one_of(columns, piece), len(piece)


def one_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same in one piece, for rows of which there is at least one."""
    if len(rows) == 1:
        return " AND ".join(f"{name}={value}" for name, value in zip(columns, rows[0], strict=True))
    some = ",".join(f"({','.join(row)})" for row in rows)
    return f"({','.join(columns)}) IN ({some})"


def pieces(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in lists, each of about as many characters as a statement should have."""
    piece: list[T] = []
    characters = 0
    for item in items:
        more = size(item)
        if piece and characters + more > MOST_CHARACTERS:
            yield piece
            piece, characters = [], 0
        piece.append(item)
        characters += more + 1
    if piece:
        yield piece
