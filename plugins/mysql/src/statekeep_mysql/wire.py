"""The text protocol, as much as queries and their answers take: pure functions over bytes.

PyMySQL reads an answer packet by packet and field by field, through several calls each; a hundred
rows take it three times as long as this.
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html and
https://mariadb.com/kb/en/result-set-packets/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

MOST = 0xFFFFFF
"""Bytes of a packet; a longer message goes on in the next one."""

OK, LOCAL_FILE, EOF, ERROR = 0x00, 0xFB, 0xFE, 0xFF
"""How an answer may begin; anything else is the number of columns."""

NULL = 0xFB
MORE_RESULTS = 0x0008
BINARY = 63
"""The character set of bytes."""

QUIT = b"\x01\x00\x00\x00\x01"
QUERY = b"\x03"

Decoder = Callable[[bytes], Any]

NUMBERS: dict[int, Decoder] = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13), int),
    **dict.fromkeys((4, 5), float),
    **dict.fromkeys((0, 246), lambda data: Decimal(data.decode("ascii"))),
}
"""By the type of a column; all others are texts or bytes."""


def query(sql: str) -> bytes:
    """The message that runs statements."""
    data = sql.encode()
    if len(data) + 1 < MOST:
        return (len(data) + 1).to_bytes(3, "little") + b"\0" + QUERY + data
    data = QUERY + data
    parts: list[bytes] = []
    for number, start in enumerate(range(0, len(data) + 1, MOST)):
        piece = data[start : start + MOST]
        parts += (len(piece).to_bytes(3, "little"), bytes((number & 0xFF,)), piece)
    return b"".join(parts)


def length(data: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, and the position behind it."""
    first = data[position]
    if first < 0xFB:
        return first, position + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    end = position + 1 + size
    return int.from_bytes(data[position + 1 : end], "little"), end


def ok(data: bytes) -> tuple[int, bool]:
    """Of an OK packet: how many rows the statement found, and whether more answers follow."""
    count, position = length(data, 1)
    _, position = length(data, position)
    return count, bool(data[position] & MORE_RESULTS)


def more_results(data: bytes) -> bool:
    """Of an EOF packet: whether more answers follow."""
    return bool(data[3] & MORE_RESULTS)


def error(data: bytes) -> tuple[int, str]:
    """Of an error packet: its number and message."""
    text = data[3:]
    if text[:1] == b"#":
        text = text[6:]
    return int.from_bytes(data[1:3], "little"), text.decode("utf-8", "replace")


def decoder(column: bytes) -> Decoder | None:
    """What makes a value of a column's bytes; None where they are the value.

    The end of a column's definition has a fixed size: character set, length, type, flags.
    """
    found = NUMBERS.get(column[-6])
    if found is not None:
        return found
    return None if int.from_bytes(column[-12:-10], "little") == BINARY else bytes.decode


def row(data: bytes, position: int, decoders: Sequence[Decoder | None]) -> tuple[Any, ...]:
    """The values of a row that begins at a position."""
    values: list[Any] = []
    for decode in decoders:
        size = data[position]
        position += 1
        if size >= NULL:
            if size == NULL:
                values.append(None)
                continue
            size, position = length(data, position - 1)
        end = position + size
        values.append(data[position:end] if decode is None else decode(data[position:end]))
        position = end
    return tuple(values)
