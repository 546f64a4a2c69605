"""What a commit has still to send, and what it will answer."""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import field, mutable


@mutable
class Applied:
    """What a transaction did."""

    versions: dict[str, int] = field(factory=dict)
    deleted: set[str] = field(factory=set)
    cancelled: set[tuple[str, str]] = field(factory=set)


class Batch:
    """Statements in order; neighbours that differ only in their parameters are sent together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sql = ""
        self._rows: list[tuple[Any, ...]] = []

    def add(self, sql: str, parameters: tuple[Any, ...]) -> None:
        """Sends a statement before the next read, or together with the next ones."""
        if sql is not self._sql:
            self.flush()
            self._sql = sql
        self._rows.append(parameters)

    def flush(self) -> None:
        """Sends what waits."""
        if self._rows:
            rows, self._rows = self._rows, []
            self._connection.executemany(self._sql, rows)

    def run(self, sql: str, parameters: tuple[Any, ...]) -> int:
        """Sends a statement now; returns how many rows it changed."""
        self.flush()
        return self._connection.execute(sql, parameters).rowcount
