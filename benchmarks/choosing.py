"""All backends in one run: the tables of docs/choosing.md, and that of batching in docs/tuning.md.

`python -m benchmarks.choosing docs` writes them. Client and server are on one machine,
over the loopback, and the server's files in the folder for temporary files: a network adds its
round trip to every call but those of the embedded backends, and a disk its own time to every
durable write.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import statekeep
from attrs import frozen
from statekeep import Storage

from benchmarks.embedded import hundreds, putter
from benchmarks.harness import QUICK, Comparison, Plan, Result, Side, Workshop, calls, run
from benchmarks.machine import machine
from benchmarks.mysql import claims
from benchmarks.workload import VALUE, conditional, fill, key, picks, state, transaction
from tests.servers.mysql import PASSWORD, MysqlProcess
from tests.servers.mysql import SAFE as MYSQL_SAFE
from tests.servers.postgres import SAFE as POSTGRES_SAFE
from tests.servers.postgres import PostgresProcess
from tests.servers.redis import RedisProcess

BENCHMARK = "choosing-latency"
READS = {"get": "`get`", "get_many": "`get_many` of 100"}
WRITES = {
    "put": "`put`",
    "conditional": "conditional `put`",
    "transaction": "transaction of 3",
    "claim": "claim and acknowledge",
}
BATCHES = ("`get_many`", "`put_many`")
SIZES = {"100 B": 100, "1 KiB": 1024, "10 KiB": 10_240}
COMPRESSORS = ("none", "lz4", "zstd", "gzip")
TOTAL = 4_000_000
"""Bytes of state whose room is measured."""

LOSES = {
    "memory": "everything, with the process",
    "SQLite, `synchronous = full`": "nothing",
    "SQLite, `synchronous = normal`": "the last commits",
    "Redis, no files": "everything",
    "Redis, `appendfsync everysec`": "about a second",
    "Redis, `appendfsync always`": "nothing",
    "PostgreSQL, `synchronous_commit = on`": "nothing",
    "PostgreSQL, `synchronous_commit = off`": "under a second",
    "MariaDB, `innodb_flush_log_at_trx_commit = 1`": "nothing",
    "MariaDB, `innodb_flush_log_at_trx_commit = 2`": "about a second",
}
"""Every setting, and what a power failure may take in it."""

AT_ONCE = 500
MARK = r"(<!-- {name} -->\n).*?(<!-- end -->)"

Config: TypeAlias = dict[str, Any]


@frozen
class Setting:
    """A degree of durability.

    Attributes:
        name: of `LOSES`.
        prepare: makes it so, on the running server.
    """

    name: str
    prepare: Callable[[], object] = lambda: None


@frozen
class Store:
    """A running backend.

    Attributes:
        name: for people.
        settings: in which it is measured; the reads only in the first.
        config: of a storage in a name of its own, which is no other's.
        analyze: has the store count what it holds, where it does not by itself.
        tells: whether its room is measured.
    """

    name: str
    settings: tuple[Setting, ...]
    config: Callable[[str], Config]
    analyze: Callable[[str], object] = lambda name: None
    tells: bool = True


def latency(workshop: Workshop) -> Iterator[Comparison]:
    """Every call, by every backend, in every setting."""
    for made in stores(workshop.folder_for("choosing")):
        with made as store, statekeep.open(store.config("latency")) as storage:
            fill(storage)
            for setting in store.settings:
                setting.prepare()
                for name, side in _sides(storage):
                    if name in WRITES or setting is store.settings[0]:
                        label = f"{setting.name}: {name}"
                        yield Comparison(label, side, long=name in WRITES)
                if store.tells and setting is store.settings[0]:
                    yield from _batches(store.name, storage)


def _sides(storage: Storage) -> Iterator[tuple[str, Side]]:
    values = storage.values
    yield "get", Side("values.get", calls(values.get, picks()))
    yield "get_many", Side("values.get_many", calls(values.get_many, hundreds()))
    yield "put", Side("values.put", calls(putter(storage), picks()))
    yield "conditional", Side("values.put(expected=...)", calls(conditional(storage), picks()))
    yield "transaction", Side("storage.transaction", calls(transaction(storage), picks()))
    yield "claim", Side("ten of deferred.claim, one transaction", claims(storage, 1))


def _batches(name: str, storage: Storage) -> Iterator[Comparison]:
    values, hundred = storage.values, hundreds()
    mappings = [dict.fromkeys(names, VALUE) for names in hundred[:50]]
    yield Comparison(
        f"{name}: {BATCHES[0]}",
        Side("one call", calls(values.get_many, hundred)),
        Side("a hundred calls", calls(lambda names: [values.get(each) for each in names], hundred)),
    )
    yield Comparison(
        f"{name}: {BATCHES[1]}",
        Side("one call", calls(values.put_many, mappings)),
        Side(
            "a hundred calls",
            calls(lambda names: [values.put(each, VALUE) for each in names], mappings),
        ),
        long=True,
    )


def stores(folder: Path) -> Iterator[Any]:
    """A context manager for each."""
    yield from (_memory(), _sqlite(folder, "full"), _sqlite(folder, "normal", tells=False))
    yield from (_redis(), _postgres(), _mysql())


@contextmanager
def _memory() -> Iterator[Store]:
    yield Store("memory", (Setting("memory"),), lambda name: {"memory": {}}, tells=False)


@contextmanager
def _sqlite(folder: Path, synchronous: str, tells: bool = True) -> Iterator[Store]:
    setting = Setting(f"SQLite, `synchronous = {synchronous}`")
    options = {"synchronous": synchronous}
    yield Store(
        "SQLite",
        (setting,),
        lambda name: {"sqlite": {"path": str(folder / f"{name}-{synchronous}.db"), **options}},
        tells=tells,
    )


@contextmanager
def _redis() -> Iterator[Store]:
    with RedisProcess() as server:

        def files(appendfsync: str) -> None:
            server.command("CONFIG", "SET", "appendonly", "yes", "appendfsync", appendfsync)

        where = {"host": "127.0.0.1", "port": server.port}
        yield Store(
            "Redis",
            (
                Setting("Redis, no files"),
                Setting("Redis, `appendfsync everysec`", partial(files, "everysec")),
                Setting("Redis, `appendfsync always`", partial(files, "always")),
            ),
            lambda name: {"redis": {**where, "prefix": f"{name}:"}},
        )


@contextmanager
def _postgres() -> Iterator[Store]:
    with PostgresProcess(POSTGRES_SAFE) as server:

        def commit(synchronous: str) -> None:
            server.configure({"synchronous_commit": synchronous})
            server.reload()

        where = {"host": "127.0.0.1", "port": server.port, "minimum_idle": 0}
        yield Store(
            "PostgreSQL",
            (
                Setting("PostgreSQL, `synchronous_commit = on`"),
                Setting("PostgreSQL, `synchronous_commit = off`", partial(commit, "off")),
            ),
            lambda name: {"postgres": {**where, "schema": name}},
        )


@contextmanager
def _mysql() -> Iterator[Store]:
    with MysqlProcess(MYSQL_SAFE) as server:
        flush = "SET GLOBAL innodb_flush_log_at_trx_commit = 2"
        where = {
            "host": "127.0.0.1",
            "port": server.port,
            "username": "app",
            "password": PASSWORD,
            "ssl_mode": "disabled",
            "minimum_idle": 0,
        }
        yield Store(
            "MariaDB",
            (
                Setting("MariaDB, `innodb_flush_log_at_trx_commit = 1`"),
                Setting(
                    "MariaDB, `innodb_flush_log_at_trx_commit = 2`", partial(server.sql, flush)
                ),
            ),
            lambda name: {"mysql": {**where, "database": name}},
            lambda name: server.sql(f"ANALYZE TABLE `{name}`.key_value_storage"),
        )


def room(store: Store, size: int, compressor: str, total: int = TOTAL) -> float:
    """Bytes that the store says it occupies more, for a byte of state."""
    name = f"room_{size}_{compressor}"
    with statekeep.open(store.config(name), compression=compressor) as storage:
        before = storage.stats().stored_bytes or 0
        numbers = iter(range(max(1, total // size)))
        written = 0
        while batch := list(islice(numbers, AT_ONCE)):
            values = {key(number): state(size, number) for number in batch}
            written += sum(map(len, values.values()))
            storage.values.put_many(values)
        store.analyze(name)
        return ((storage.stats().stored_bytes or 0) - before) / written


def rooms(made: Iterable[Any], total: int = TOTAL) -> Iterator[tuple[str, str, list[float]]]:
    """Store, size, and what each compressor comes to; memory itself cannot tell."""
    for each in made:
        with each as store:
            if store.tells:
                for text, size in SIZES.items():
                    yield store.name, text, [room(store, size, c, total) for c in COMPRESSORS]


def latency_table(results: Sequence[Result]) -> str:
    """One row a setting, in microseconds."""
    found = {result.name: result.ours.median for result in results}
    columns = [*READS.items(), *WRITES.items()]
    lines = [
        f"| µs a call, 1 KiB | {' | '.join(text for _, text in columns)} | a power failure loses |",
        f"|---|{'---:|' * len(columns)}---|",
    ]
    for setting, loses in LOSES.items():
        times = (found.get(f"{setting}: {name}") for name, _ in columns)
        cells = " | ".join("" if time is None else _micros(time) for time in times)
        lines.append(f"| {setting} | {cells} | {loses} |")
    return "\n".join(lines) + "\n"


def batch_table(results: Sequence[Result]) -> str:
    """One row a store: what one call of a hundred takes of the time of a hundred calls."""
    ratios = {result.name: result.ratio for result in results if result.ratio is not None}
    names = dict.fromkeys(name.partition(":")[0] for name in ratios)
    lines = [f"| | {' | '.join(BATCHES)} |", f"|---|{'---:|' * len(BATCHES)}"]
    for name in names:
        cells = " | ".join(f"{ratios[f'{name}: {batch}']:.2f}" for batch in BATCHES)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _micros(time: float) -> str:
    return f"{time:.0f}" if time >= 100 else f"{time:.3g}"


def room_table(rows: Iterable[tuple[str, str, list[float]]]) -> str:
    """One row a store and size, in bytes occupied for a byte of state."""
    head = f"| bytes for a byte of state | values of | {' | '.join(COMPRESSORS)} |"
    lines = [head, f"|---|---|{'---:|' * len(COMPRESSORS)}"]
    lines += [
        f"| {name} | {size} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |"
        for name, size, ratios in rows
    ]
    return "\n".join(lines) + "\n"


def write(page: Path, name: str, text: str) -> None:
    """Replaces what stands between the comments of this name."""
    mark = re.compile(MARK.format(name=name), re.DOTALL)
    content = page.read_text()
    if not mark.search(content):
        raise SystemExit(f"{page} lacks the comments <!-- {name} --> and <!-- end -->")
    page.write_text(mark.sub(lambda found: f"{found[1]}{text}{found[2]}", content))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and writes the pages' tables."""
    parser = argparse.ArgumentParser("python -m benchmarks.choosing", description=__doc__)
    parser.add_argument("docs", type=Path, help="the folder of the pages")
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    options = parser.parse_args(arguments)
    plan, total = (QUICK, TOTAL // 100) if options.quick else (Plan(), TOTAL)
    where = ", ".join(f"{name} {value}" for name, value in machine().items())
    with TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder), plan)
        results = list(run(BENCHMARK, latency, workshop))
        rows = list(rooms(stores(workshop.folder_for("room")), total))
    page = options.docs / "choosing.md"
    write(page, "latency", f"Machine: {where}.\n\n{latency_table(results)}")
    write(page, "room", room_table(rows))
    write(options.docs / "tuning.md", "batching", batch_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
