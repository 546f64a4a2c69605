"""Moving a store: beside a loop of gets and puts, and in how much memory.

Of a million records, `python -m benchmarks.moving [RECORDS]` measures the commands as they are
used: how many records a second, and the largest memory that the process had.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import statekeep
from attrs import frozen
from statekeep import Storage, migration
from statekeep.migration import OnConflict

from benchmarks.harness import Comparison, Repeat, Side, Workshop, calls, faster
from benchmarks.workload import batches, key
from tests.servers.postgres import PostgresProcess
from tests.servers.redis import RedisProcess

CONTENT = 500
"""Bytes of a value."""

MILLION = 10**6
LOOPED = 5000
"""Records of the loop, of a million: more would only take longer."""


@frozen
class Place:
    """A store, open, and the URL that opens it."""

    url: str
    storage: Storage


def moving(workshop: Workshop) -> Iterator[Comparison]:
    """PostgreSQL to Redis, and to and from a file."""
    records = max(workshop.plan.many // 50, 1000)
    with places() as (source, target, aside):
        fill(source.storage, records)
        names = [key(number) for number in range(records)]
        loop = Side("get and put, one by one", calls(one_by_one(source, aside), names))
        yield Comparison(
            "migrate, PostgreSQL to Redis",
            Side("statekeep migrate", whole(lambda: copied(source, target), records)),
            loop,
            faster(10),
            note=f"a record of {CONTENT} bytes; {records} of them at a time",
        )
        yield Comparison(
            "verify, PostgreSQL and Redis",
            Side("statekeep verify", whole(lambda: compared(source, target), records)),
            loop,
            note="a record",
        )
        with tempfile.TemporaryFile(dir=workshop.folder_for("export")) as file:

            def export() -> None:
                file.seek(0)
                file.truncate()
                migration.export(source.storage.backend, file)

            def read() -> None:
                file.seek(0)
                migration.import_(target.storage.backend, file, on_conflict=OnConflict.OVERWRITE)

            yield Comparison("export, PostgreSQL", Side("export", whole(export, records)), loop)
            yield Comparison("import, Redis", Side("import", whole(read, records)), loop)


@contextmanager
def places() -> Iterator[tuple[Place, Place, Place]]:
    """A PostgreSQL, a Redis, and another place in that Redis for the loop."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresProcess())
        redis = stack.enter_context(RedisProcess())
        urls = (
            f"postgres://postgres@127.0.0.1:{postgres.port}/postgres",
            f"redis://127.0.0.1:{redis.port}",
            f"redis://127.0.0.1:{redis.port}?prefix=loop:",
        )
        first, second, third = (
            Place(url, stack.enter_context(statekeep.open(url))) for url in urls
        )
        yield first, second, third


def fill(storage: Storage, records: int) -> None:
    """Values that a compressor would find little in."""
    rng = random.Random(records)
    for numbers in batches(records):
        storage.values.put_many({key(number): rng.randbytes(CONTENT) for number in numbers})


def copied(source: Place, target: Place) -> None:
    """Moves everything, over what is there."""
    migration.copy(source.storage.backend, target.storage.backend, on_conflict=OnConflict.OVERWRITE)


def compared(source: Place, target: Place) -> None:
    """Compares everything."""
    assert not list(migration.compare(source.storage.backend, target.storage.backend))


def one_by_one(source: Place, target: Place) -> Callable[[str], None]:
    """A get there and a put here."""
    get, put = source.storage.values.get, target.storage.values.put

    def move(name: str) -> None:
        entry = get(name)
        assert entry is not None
        put(name, entry.value)

    return move


def whole(work: Callable[[], None], records: int) -> Repeat:
    """Every round is one run over all records; what counts is the time of one of them."""

    def repeat(count: int) -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) * count / records

    return repeat


def measure(records: int) -> dict[str, Any]:
    """The commands over so many records, each in a process of its own."""
    with places() as (source, target, aside), tempfile.TemporaryDirectory() as folder:
        fill(source.storage, records)
        names = [key(number) for number in range(min(records, LOOPED))]
        looped = calls(one_by_one(source, aside), names)
        before = looped(LOOPED) / LOOPED * 1e6
        file = str(Path(folder) / "export.gz")
        both = ("--from", source.url, "--to", target.url)
        found: dict[str, Any] = {"records": records, "loop_us": round(before, 1)}
        found["migrate"] = ran(folder, "migrate", *both, "--no-verify", records=records)
        found["verify"] = ran(folder, "verify", *both, records=records)
        found["export"] = ran(folder, "--url", source.url, "export", file, records=records)
        found["import"] = ran(
            folder, "--url", f"sqlite:///{folder}/b.db", "import", file, records=records
        )
        found["loop_after_us"] = round(looped(LOOPED) / LOOPED * 1e6, 1)
        return found


def ran(folder: str, *arguments: str, records: int) -> dict[str, float]:
    """What a command took: microseconds a record, of its processor too, and its largest memory.

    The memory is that of Linux' `VmHWM`, in MB of 10^6 bytes: what `getrusage` says of a child
    counts the parent that it was forked from.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "statekeep.cli", *arguments, "--json"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max(peak, memory(status.read_text()))
        time.sleep(0.02)
    taken = time.perf_counter() - start
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    assert process.returncode == 0, arguments
    return {
        "us": round(taken / records * 1e6, 1),
        "cpu_us": round((usage.ru_utime + usage.ru_stime) / records * 1e6, 1),
        "peak_mb": round(peak / 1e6, 1),
    }


def memory(status: str) -> int:
    """Bytes that a process had at most; 0 where it has ended."""
    found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def main(arguments: Sequence[str]) -> int:
    """Measures and prints."""
    print(json.dumps(measure(int(arguments[0]) if arguments else MILLION), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
