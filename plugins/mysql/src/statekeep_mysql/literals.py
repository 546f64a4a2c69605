"""Values as SQL writes them. Bytes and texts are hexadecimal: nothing in them can end a literal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from statekeep.clock import MAX_MICROS

NOW = "TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(6))"
"""The server's clock in microseconds as the statement began; of no time zone, good past 2038."""

LIVE = f"(expires IS NULL OR expires>{NOW})"
"""Whether a value has not expired."""

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
    piece: list[str] = []
    size = 0
    for item in items:
        if piece and size + len(item) > MOST_CHARACTERS:
            yield ",".join(piece)
            piece, size = [], 0
        piece.append(item)
        size += len(item) + 1
    if piece:
        yield ",".join(piece)
