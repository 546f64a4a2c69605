"""How answers are shown: `--json`, tables on a terminal, tab-separated lines where piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import frozen

from statekeep.cli.text import BASE64, encoded, printable

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]
CHUNK = 500
"""Rows that are laid out together on a terminal: so a list of any length needs little memory."""

RIGHT = frozenset(
    ("version", "size", "attempt", "records", "bytes", "messages", "ready", "held", "oldest")
)
"""Columns of numbers."""

NONE = "-"
HEX_DUMP_BYTES = 256
DUMP_WIDTH = 16


@frozen
class Output:
    """Where a command's answer goes.

    A row's values are text, numbers, truths, None or bytes; bytes are shown as text where they
    are UTF-8, else as base64, and in JSON `encoding` says which.

    Attributes:
        as_json: one JSON object a line, complete and stable; else what people read.
    """

    as_json: bool

    @property
    def terminal(self) -> bool:
        """Whether a person looks at it."""
        return not self.as_json and sys.stdout.isatty()

    def record(self, row: Row) -> None:
        """Shows one thing, field by field."""
        if self.as_json:
            self._write(_json(row))
        elif self.terminal:
            grid = _table(headers=())
            for name, value in row.items():
                grid.add_row(name, _cell(value))
            _console().print(grid)
        else:
            for name, value in row.items():
                self._write(f"{name}\t{_cell(value)}")

    def rows(self, columns: Sequence[str], rows: Iterable[Row]) -> int:
        """Shows many things as they come, in constant memory, and returns how many there were.

        Args:
            columns: the fields that people see; JSON has all of them.
            rows: the things.
        """
        if self.terminal:
            return self._tables(columns, iter(rows))
        count = 0
        for row in rows:
            count += 1
            cells = () if self.as_json else (_cell(row[name]) for name in columns)
            self._write("\t".join(cells) or _json(row))
        return count

    def done(self, row: Row, sentence: str) -> None:
        """Confirms a change: to JSON and to people; a pipe gets nothing."""
        if self.as_json:
            self._write(_json(row))
        elif self.terminal:
            self._write(printable(sentence))

    def line(self, text: str) -> None:
        """Writes a line as it is, for people or pipes."""
        self._write(text)

    def raw(self, data: bytes) -> None:
        """Writes bytes as they are; a terminal gets what it can show, and a line end."""
        if self.terminal:
            self._write(_shown(data))
            return
        sys.stdout.flush()
        left = memoryview(data)
        while left:  # an unbuffered stdout (PYTHONUNBUFFERED) may take only a part
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()

    def _tables(self, columns: Sequence[str], rows: Iterator[Row]) -> int:
        count, widths = 0, [0] * len(columns)
        while chunk := [[_cell(row[name]) for name in columns] for row in islice(rows, CHUNK)]:
            for cells in chunk:
                widths = [max(*pair) for pair in zip(widths, map(len, cells), strict=True)]
            table = _table(columns, widths, first=count == 0)
            for cells in chunk:
                table.add_row(*cells)
            _console().print(table)
            count += len(chunk)
        return count

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")


def _json(row: Row) -> str:
    shown: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, bytes):
            shown[name], shown["encoding"] = encoded(value)
        else:
            shown[name] = value
    return json.dumps(shown)


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        text, encoding = encoded(value)
        return f"{BASE64}:{text}" if encoding == BASE64 else printable(text)
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or NONE
    return printable(str(value))


def _shown(data: bytes) -> str:
    text, encoding = encoded(data)
    if encoding != BASE64 and "\0" not in text:
        return "\n".join(printable(line) for line in text.expandtabs().rstrip("\n").split("\n"))
    lines = [f"{len(data)} bytes, not text: pipe them to a file, or say --json"]
    for start in range(0, min(len(data), HEX_DUMP_BYTES), DUMP_WIDTH):
        part = data[start : start + DUMP_WIDTH]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{3 * DUMP_WIDTH}} {letters}")
    return "\n".join(lines + ["..."] * (len(data) > HEX_DUMP_BYTES))


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def _table(headers: Sequence[str], widths: Sequence[int] = (), *, first: bool = True) -> Any:
    from rich.table import Table

    table = Table(
        box=None, show_header=first and bool(headers), pad_edge=False, padding=(0, 2, 0, 0)
    )
    if not headers:
        table.add_column(style="bold")
        table.add_column(overflow="fold")
    for name, width in zip(headers, widths, strict=False):
        table.add_column(
            name.upper().replace("_", " "),
            justify="right" if name in RIGHT else "left",
            min_width=width if name in RIGHT else None,
            overflow="fold",
            header_style="bold",
        )
    return table
