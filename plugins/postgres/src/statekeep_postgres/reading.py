"""What the server answers to a statement, read as it comes: no input or output."""

from __future__ import annotations

from typing import Any, TypeAlias

from statekeep_postgres import wire
from statekeep_postgres.failures import FATAL, WARNING, ServerRefused

Rows: TypeAlias = list[tuple[Any, ...]]


class Reading:
    """Reads an answer up to ReadyForQuery, which alone says that the transaction has ended.

    Args:
        statement: what was asked.
        writes: whether a warning of the commit is a failure.
    """

    __slots__ = ("_completed", "_problem", "_row", "_rows", "writes")

    def __init__(self, statement: wire.Statement, writes: bool) -> None:
        self.writes = writes
        self._row = statement.row
        self._rows: Rows = []
        self._problem: ServerRefused | None = None
        self._completed = ""

    def take(self, data: bytes) -> tuple[int, bytes]:
        """Reads on; how many bytes it needs next, in all (0: none), and those not read yet.

        Raises:
            ServerRefused: the server hung up with it.
        """
        position = 0
        rows, row, unpack = self._rows, self._row, wire.HEADER.unpack_from
        while True:
            if len(data) - position < 5:
                return 5, data[position:]
            code, size = unpack(data, position)
            end = position + 1 + size
            if end > len(data):
                return size + 1, data[position:]
            if code == b"D":
                rows.append(row(data[position + 5 : end]))
            elif code == b"Z":
                return 0, data[end:]
            elif code == b"2":  # BindComplete: rows of the statement before are not asked for
                rows.clear()
                self._completed = ""
            elif code in b"ECN":
                self._note(code, data[position + 5 : end])
            position = end

    def _note(self, code: bytes, content: bytes) -> None:
        if code == b"C":
            self._completed = "completed"
        elif code == b"E":
            fields = wire.fields(content)
            self._problem = ServerRefused(fields | {"completed": self._completed})
            if self._problem.severity in FATAL:
                raise self._problem  # no ReadyForQuery follows
        elif self._completed:
            self._problem = self._problem or _warned(content)

    def result(self) -> Rows:
        """What there was; raises what was wrong."""
        problem = self._problem
        if problem is not None and (self.writes or problem.severity != WARNING):
            raise problem
        return self._rows


def _warned(message: bytes) -> ServerRefused | None:
    """The warning of a notice that came between a statement's end and that of its transaction.

    Told by its place: a commit that did not reach the synchronous standby has no code of its own.
    """
    found = ServerRefused(wire.fields(message))
    return found if found.severity == WARNING else None
