"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import sqlite3
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
