"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

LIBRARIES = (
    "statekeep",
    "statekeep-memory",
    "statekeep-sqlite",
    "attrs",
    "cattrs",
    "pluggy",
    "lz4",
    "zstandard",
    "isal",
    "zlib-ng",
    "cachebox",
    "moka-py",
    "theine",
    "py-key-value-aio",
    "diskcache",
    "redis",
    "asyncpg",
    "psycopg",
    "psycopg-pool",
    "asyncmy",
    "uvloop",
)


def machine() -> dict[str, str | int]:
    """The hardware and the operating system."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Python, SQLite and the libraries."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in LIBRARIES},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError, AttributeError):
        return 0


@contextmanager
def apart(pid: int) -> Iterator[None]:
    """Gives this process a core and another process the others.

    Else each connection has its own luck: a server's thread on the client's core answers a short
    statement in two thirds of the time, and stays there.
    """
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(cores) < 2:
        yield
        return
    first = min(cores)
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores - {first})
    os.sched_setaffinity(0, {first})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
