"""docs/backups.md on MariaDB: dumped under load, restored, and rolled forward to a moment."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import statekeep

from tests.mysql.opening import APP
from tests.operations.ledger import Ledger, verify
from tests.operations.pages import settings
from tests.operations.shell import run
from tests.servers.mysql import SAFE, MysqlProcess

HEAD = re.compile(r"MASTER_LOG_FILE='([^']+)'")


@pytest.fixture
def server() -> Iterator[MysqlProcess]:
    """A server that keeps its log as the page says."""
    with MysqlProcess({**SAFE, **settings("backups", "mysql-binlog")}) as process:
        yield process


def console(
    name: str, server: MysqlProcess, backup: Path, more: dict[str, object] | None = None
) -> None:
    """Runs a block of the page; a unix socket leads to the server."""
    to = f"--no-defaults --socket={server.socket} --user=root"
    here = {"--host=db-1.internal": to, **(more or {}), "/backup": backup}
    run("backups", name, here, program="mariadbd")


def where(server: MysqlProcess) -> dict[str, Any]:
    """A storage's config."""
    return {"mysql": {**APP, "host": "127.0.0.1", "port": server.port, "minimum_idle": 0}}


def test_a_dump_that_is_made_under_load_is_restored(server: MysqlProcess, tmp_path: Path) -> None:
    """Into a server whose database was dropped meanwhile."""
    with statekeep.open(where(server)) as storage, Ledger(storage) as ledger:
        least = ledger.progress(50)
        console("mysql-dump", server, tmp_path)
        ledger.progress(50)
    server.sql("DROP DATABASE infinitic")
    console("mysql-restore", server, tmp_path)
    with statekeep.open(where(server)) as storage:
        assert verify(storage, ledger.versions, least) < len(ledger.versions)


def test_a_server_is_restored_to_a_point_in_time(server: MysqlProcess, tmp_path: Path) -> None:
    """The dump and its log: before the accident all is there, and nothing of what came after."""
    with statekeep.open(where(server)) as storage:
        with Ledger(storage) as ledger:
            ledger.progress(30)
            console("mysql-dump", server, tmp_path)
            ledger.progress(30)
        kept = len(ledger.versions)
        moment = _next_second(server)
        storage.values.put("after/the/moment", b"x")
    server.sql("DROP DATABASE infinitic")
    found = HEAD.search((tmp_path / "state.sql").read_text(errors="replace"))
    assert found is not None
    server.sql("FLUSH BINARY LOGS")
    log = server.data / found.group(1)
    with MysqlProcess(SAFE) as fresh:
        console("mysql-restore", fresh, tmp_path)
        here = {"/backup/binlog.000002": log, "2026-11-25 12:00:00": moment}
        console("mysql-replay", fresh, tmp_path, here)
        with statekeep.open(where(fresh)) as storage:
            assert storage.values.get("after/the/moment") is None
            assert verify(storage, ledger.versions, kept, kept) == kept


def _next_second(server: MysqlProcess) -> str:
    """Waits for the beginning of a second, which the log counts in."""
    ((before,),) = server.sql("SELECT UNIX_TIMESTAMP()")
    while server.sql("SELECT UNIX_TIMESTAMP()") == [(before,)]:
        time.sleep(0.02)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(before + 1))
