"""Reads everything that a storage holds, in a process of its own, whose memory is looked at.

`python -m benchmarks.growth.reading CONFIG` prints what it took, as JSON.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cattrs
import statekeep
from attrs import asdict, frozen
from statekeep import Storage

from benchmarks.growth.filling import QUEUE, SET

RESIDENT = re.compile(r"VmHWM:\s+(\d+) kB")
"""The most that this program ever had in memory; `ru_maxrss` may be that of its parent."""


@frozen
class Everything:
    """What it took to read all records of a kind, in µs a record, and memory in MB (10^6 bytes).

    Attributes:
        before: memory with the storage open and one record of each kind read.
        most: memory at its highest, when everything was read.
    """

    value: float
    member: float
    message: float
    before: float
    most: float


def read_apart(config: dict[str, Any]) -> Everything:
    """Reads everything in another process."""
    command = [sys.executable, "-m", "benchmarks.growth.reading", json.dumps(config)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return cattrs.structure(json.loads(done.stdout), Everything)


def read(storage: Storage) -> Everything:
    """Reads everything, here."""
    for records in _kinds(storage):
        next(records)
    before = _resident()
    value, member, message = (_timed(records) for records in _kinds(storage))
    return Everything(value, member, message, before, _resident())


def _kinds(storage: Storage) -> tuple[Iterator[Any], ...]:
    members = (member for page in storage.sets.pages(SET) for member in page.items)
    return storage.values.scan(), members, storage.deferred.scan(QUEUE)


def _timed(records: Iterator[Any]) -> float:
    start = time.perf_counter()
    number = sum(1 for _ in records)
    return (time.perf_counter() - start) / number * 1e6


def _resident() -> float:
    found = RESIDENT.search(Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    with statekeep.open(json.loads(sys.argv[1])) as opened:
        print(json.dumps(asdict(read(opened))))
