"""Every statement finds its rows by an index, so its cost does not grow with the file."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from statekeep.storage import Storage
from statekeep_sqlite import messages, reads, scans, upkeep, writes

Open = Callable[..., Storage]
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def statements() -> list[tuple[str, str]]:
    found = []
    modules: list[ModuleType] = [messages, reads, scans, upkeep, writes]
    for module in modules:
        for name, sql in vars(module).items():
            if isinstance(sql, str) and name.isupper() and STATEMENT.match(sql):
                fills = (">=", ">") if module is scans else ("?,?",)
                found += [(f"{module.__name__}.{name}", sql.format(fill)) for fill in fills]
    return found


@pytest.mark.parametrize(("name", "sql"), statements())
def test_no_statement_reads_a_whole_table(path: Path, opened: Open, name: str, sql: str) -> None:
    """`SCAN` of a table in the query plan would mean that."""
    opened()
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    count = max(numbered) if numbered else sql.count("?")
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("given", 2, {}.setdefault)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * count).fetchall()
    lines = [line for *_, line in plan]
    assert not [line for line in lines if "SCAN" in line and "SCAN names" not in line], lines
    assert not [line for line in lines if "TEMP B-TREE" in line], lines


def test_the_statements_are_found() -> None:
    """This test would say nothing if it found none."""
    assert len(statements()) >= 20
