"""`statekeep top` beside applications that really export: two storages of one process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import VersionConflict, aio

from tests.servers.ports import free_ports


def looked(folder: Path, port: int, url: str) -> dict[str, Any]:
    """The second of two looks, by the command as it is installed."""
    words = ("--url", url, "top", "--metrics", f"http://127.0.0.1:{port}/metrics")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "statekeep.cli",
            *words,
            "--rounds",
            "2",
            "--interval",
            "0.3",
            "--json",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[1])
    return found


def test_what_a_process_did_is_shown(tmp_path: Path) -> None:
    """Its operations, its tasks, its cache, its compression, its pool; and the store's records."""
    (port,) = free_ports()
    url = f"sqlite:///{tmp_path}/state.db"
    config: dict[str, Any] = {
        "compression": "gzip",
        "cache": {"key_value": {"maximum_size": 100}},
        "observers": {"prometheus": {"port": port, "count_interval": 0}},
    }

    async def work() -> dict[str, Any]:
        async with aio.open(url, **config) as tasks:
            with statekeep.open(url, **config) as storage:
                storage.values.put("order/1", b"x" * 10_000)
                for _ in range(4):
                    storage.values.get("order/1")
                with pytest.raises(VersionConflict):
                    storage.values.put("order/1", b"", expected=0)
                await tasks.values.put("order/2", b"")
                return await asyncio.to_thread(looked, tmp_path, port, url)

    found = asyncio.run(work())
    assert set(found["calls"]) >= {"get", "put", "task_write"}
    assert found["processes"] == 1 and found["errors"] == []
    assert found["kinds"]["key_value"]["records"] == 2
    assert found["compression"] > 10
    assert found["pool"]["waiting"] == 0
    assert found["ping"] > 0


def test_a_port_that_serves_nothing_is_said(tmp_path: Path) -> None:
    """The store is watched all the same."""
    (port,) = free_ports()
    url = f"sqlite:///{tmp_path}/state.db"
    statekeep.open(url).close()
    found = looked(tmp_path, port, url)
    assert found["processes"] == 0 and found["ping"] > 0
    (error,) = found["errors"]
    assert f":{port}" in error and "refused" in error
