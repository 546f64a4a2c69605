"""What the server answers to a packet of statements, read as it comes: no input or output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from attrs import frozen

from statekeep_mysql import wire
from statekeep_mysql.failures import ServerRefused

Rows: TypeAlias = Sequence[tuple[Any, ...]]

HEAD = 4
"""Bytes before each message: its size and number."""


@frozen(slots=True)
class Result:
    """The answer to one statement.

    Attributes:
        rows: of a query.
        count: how many rows a statement found: also those that it left as they were (FOUND_ROWS).
    """

    rows: Rows
    count: int


class Reading:
    """Reads the answers to all statements of a packet; the first that is refused is the last.

    Args:
        results: where to put those that succeeded.

    Attributes:
        results: the same.
        refusal: why a statement was refused.
    """

    __slots__ = ("_columns", "_decoders", "_ended", "_parts", "_rows", "refusal", "results")

    def __init__(self, results: list[Result]) -> None:
        self.results = results
        self.refusal: ServerRefused | None = None
        self._ended = False
        self._parts: list[bytes] = []
        self._columns = 0
        self._decoders: list[wire.Decoder | None] = []
        self._rows: list[tuple[Any, ...]] | None = None

    def take(self, data: bytes) -> tuple[int, bytes]:
        """Reads on; how many bytes it needs next, in all (0: none), and those not read yet.

        Raises:
            IndexError, KeyError, ValueError: the server does not speak the protocol.
        """
        position = needed = 0
        while not (needed or self._ended):
            if self._rows is None:
                position, needed = self._take_message(data, position)
            else:
                position, needed = self._take_rows(data, position, self._rows)
        return needed, data[position:]

    def _take_message(self, data: bytes, position: int) -> tuple[int, int]:
        """The position behind a message that is not a row, or what it needs to be whole."""
        start = position + HEAD
        if len(data) < start:
            return position, HEAD
        size = int.from_bytes(data[position : position + 3], "little")
        end = start + size
        if len(data) < end:
            return position, HEAD + size
        self._parts.append(data[start:end])
        if size < wire.MOST:
            message = b"".join(self._parts)
            self._parts.clear()
            self._note(message)
        return end, 0

    def _note(self, message: bytes) -> None:
        if self._columns:
            self._columns -= 1
            self._decoders.append(wire.decoder(message))
        elif self._decoders:  # the end of the columns
            self._rows = []
        elif message[0] == wire.OK:
            count, more = wire.ok(message)
            self.results.append(Result((), count))
            self._ended = not more
        elif message[0] == wire.ERROR:
            self._refused(message)
        elif message[0] == wire.LOCAL_FILE:
            raise ValueError("the server asked for a file of this machine")
        else:
            self._columns, _ = wire.length(message, 0)

    def _take_rows(
        self, data: bytes, position: int, rows: list[tuple[Any, ...]]
    ) -> tuple[int, int]:
        """The position behind the rows that are whole, and what the next one needs to be so."""
        decoders, row, from_bytes = self._decoders, wire.row, int.from_bytes
        while True:
            start = position + HEAD
            if len(data) <= start:
                return position, HEAD + 1
            size = from_bytes(data[position : position + 3], "little")
            end = start + size
            if end > len(data):
                return position, HEAD + size
            position, message = end, data
            if size == wire.MOST or self._parts:
                self._parts.append(data[start:end])
                if size == wire.MOST:
                    continue
                message, start = b"".join(self._parts), 0
                size = len(message)
                self._parts.clear()
            kind = message[start]
            if kind == wire.EOF and size < 9:
                self.results.append(Result(rows, len(rows)))
                self._ended = not wire.more_results(message[start : start + size])
                self._rows, self._decoders = None, []
                return position, 0
            if kind == wire.ERROR:
                self._refused(message[start : start + size])
                return position, 0
            rows.append(row(message, start, decoders))

    def _refused(self, message: bytes) -> None:
        self.refusal = ServerRefused(*wire.error(message))
        self._ended = True
