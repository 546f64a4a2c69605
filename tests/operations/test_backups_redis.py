"""docs/backups.md on Redis: saved under load, destroyed, restored."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import statekeep

from tests.operations.ledger import Ledger, verify
from tests.operations.shell import run
from tests.servers.redis import RedisProcess, eventually

KEEPING = {"appendonly": "yes", "appendfsync": "everysec"}


def console(name: str, server: RedisProcess, backup: Path, **more: object) -> None:
    """Runs a block of the page against this server."""
    here = {"redis-1.internal -p 6379": f"127.0.0.1 -p {server.port}", "/backup": backup, **more}
    run("backups", name, here, program="redis-server")


def under_load(server: RedisProcess, back_up: Callable[[], object]) -> tuple[int, list[int]]:
    """How many were acknowledged before the backup, and the versions of all."""
    where = {"redis": {"host": "127.0.0.1", "port": server.port}}
    with statekeep.open(where) as storage, Ledger(storage) as ledger:
        least = ledger.progress(100)
        back_up()
        ledger.progress(100)
    return least, ledger.versions


def test_a_snapshot_that_is_made_under_load_is_restored(tmp_path: Path) -> None:
    """With append-only files turned on again, which then have all of it."""
    with RedisProcess(KEEPING) as server:
        least, versions = under_load(server, lambda: console("redis-backup", server, tmp_path))
        server.kill()
        shutil.rmtree(server.folder / "appendonlydir")
        (server.folder / "dump.rdb").unlink(missing_ok=True)
        where = {"redis": {"host": "127.0.0.1", "port": server.port}}
        with restored(server, tmp_path), statekeep.open(where) as storage:
            assert verify(storage, versions, least) < len(versions)
        server.start()  # by its own config, with append-only files
        with statekeep.open(where) as storage:
            entry = storage.values.get("state/0")
            assert entry is not None and entry.value == b"again"


@contextmanager
def restored(server: RedisProcess, backup: Path) -> Iterator[None]:
    """A server that the page's commands start on the backup, in the place of one that is dead."""
    here = {
        "/var/lib/redis": server.folder,
        "/etc/redis.conf": server.folder / "redis.conf",
        "--daemonize yes": f"--daemonize yes --pidfile {server.folder / 'pid'}",
    }
    try:
        console("redis-restore", server, backup, **here)
        yield
        eventually(lambda: not server.info()["aof_rewrite_in_progress"], "the new files")
    finally:
        note = server.folder / "pid"
        if note.exists():
            os.kill(int(note.read_text()), signal.SIGTERM)
            eventually(lambda: not note.exists(), "its end")


def test_append_only_files_that_are_copied_under_load_are_restored(tmp_path: Path) -> None:
    """All that was acknowledged when the copy began, and perhaps more."""
    with RedisProcess(KEEPING) as server:
        folder = {"/var/lib/redis/": f"{server.folder}/"}
        back_up = lambda: console("redis-aof-backup", server, tmp_path, **folder)  # noqa: E731
        least, versions = under_load(server, back_up)
    with RedisProcess(KEEPING) as server:
        server.kill()
        shutil.rmtree(server.folder / "appendonlydir")
        shutil.copytree(tmp_path / "appendonlydir", server.folder / "appendonlydir")
        server.start()
        with statekeep.open({"redis": {"host": "127.0.0.1", "port": server.port}}) as storage:
            verify(storage, versions, least)
