"""The same call among a thousand and among a million keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import statekeep
from statekeep import Storage

from benchmarks.embedded import open_sqlite, putter
from benchmarks.harness import Bar, Comparison, Side, Workshop, at_most, calls
from benchmarks.workload import KEYS, SHORT, fill, picks

GET = "SELECT version, expires, value FROM key_value_storage WHERE key = ?"
PUT = """
    INSERT INTO key_value_storage (key, version, value) VALUES (?, 1, ?)
    ON CONFLICT (key) DO UPDATE SET version = version + 1, value = excluded.value
"""


def memory_scale(workshop: Workshop) -> Iterator[Comparison]:
    """The memory backend."""
    many = workshop.plan.many
    with statekeep.open("memory:") as few, statekeep.open("memory:") as all_keys:
        fill(few, KEYS, SHORT)
        fill(all_keys, many, SHORT)
        yield from _pairs("memory", _calls(all_keys), _calls(few), many, at_most(1.3))


def sqlite_scale(workshop: Workshop) -> Iterator[Comparison]:
    """The SQLite backend, and bare statements on the same files, for what SQLite itself adds."""
    many = workshop.plan.many
    folders = [workshop.folder_for(f"sqlite-scale-{keys}") for keys in (KEYS, many)]
    for folder, keys in zip(folders, (KEYS, many), strict=True):
        with open_sqlite(folder, "off") as storage:
            fill(storage, keys, SHORT)
    for what, mapped in (("sqlite", 0), ("sqlite mapped into memory", 2**30)):
        with (
            _opened(folders[0], mapped) as few,
            _opened(folders[1], mapped) as all_keys,
        ):
            yield from _pairs(what, _calls(all_keys), _calls(few), many, at_most(1.3))
    with closing(_bare(folders[0])) as one, closing(_bare(folders[1])) as other:
        yield from _pairs("bare sqlite3", _statements(other), _statements(one), many, None)


Calls = dict[str, Callable[[str], object]]


def _pairs(
    what: str, ours: Calls, theirs: Calls, many: int, bar: Bar | None
) -> Iterator[Comparison]:
    for name in ours:
        yield Comparison(
            f"{what} {name} among {many:,} keys",
            Side(f"{name}, {many:,} keys", calls(ours[name], picks(many))),
            Side(f"{name}, {KEYS:,} keys", calls(theirs[name], picks(KEYS))),
            bar if name == "get" else None,
            "the same call, at two sizes",
            long=name == "put",
        )


def _calls(storage: Storage) -> Calls:
    return {"get": storage.values.get, "put": putter(storage, SHORT)}


def _opened(folder: Path, mapped: int) -> Storage:
    path = str(folder / "statekeep.db")
    return statekeep.open({"sqlite": {"path": path, "synchronous": "normal", "mmap_size": mapped}})


def _bare(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "statekeep.db", isolation_level=None)
    connection.execute("PRAGMA synchronous = normal")
    return connection


def _statements(connection: sqlite3.Connection) -> Calls:
    return {
        "get": lambda name: connection.execute(GET, (name,)).fetchone(),
        "put": lambda name: connection.execute(PUT, (name, SHORT)),
    }
