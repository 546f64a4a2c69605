"""docs/backups.md on PostgreSQL: dumped, and copied with its log, under load; then restored."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import statekeep

from tests.operations.ledger import Ledger, verify
from tests.operations.pages import settings
from tests.operations.shell import run
from tests.servers.postgres import SAFE, PostgresProcess, eventually, identity, own

DATABASE = "state"


@pytest.fixture
def backup() -> Iterator[Path]:
    """A folder that the servers' user may write to."""
    with TemporaryDirectory(prefix="statekeep-backup-") as name:
        folder = Path(name)
        own(folder)
        yield folder


def console(name: str, server: PostgresProcess, backup: Path, host: str) -> None:
    """Runs a block of the page; a unix socket leads to the server."""
    to = f"host={server.folder} port={server.port} user=postgres"
    run("backups", name, {host: to, "/backup": backup}, program="postgres", **identity())


def where(server: PostgresProcess) -> dict[str, Any]:
    """A storage's config."""
    at = {"host": "127.0.0.1", "port": server.port, "database": DATABASE}
    return {"postgres": {**at, "minimum_idle": 0}}


def test_a_dump_that_is_made_under_load_is_restored(backup: Path) -> None:
    """Into a database that was dropped meanwhile."""
    with PostgresProcess(SAFE) as server:
        with statekeep.open(where(server)) as storage, Ledger(storage) as ledger:
            least = ledger.progress(50)
            console("postgres-dump", server, backup, "host=db-1.internal")
            ledger.progress(50)
        server.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        console("postgres-restore", server, backup, "host=db-1.internal")
        with statekeep.open(where(server)) as storage:
            assert verify(storage, ledger.versions, least) < len(ledger.versions)


def test_a_server_is_restored_to_a_point_in_time(backup: Path) -> None:
    """Tables dropped, server gone: at the time before the accident all is there, and no more."""
    archive = backup / "wal"
    archive.mkdir()
    own(archive)
    options = settings("backups", "postgres-archive", {"/backup": backup})
    with PostgresProcess({**SAFE, **options}) as server:
        with statekeep.open(where(server)) as storage:
            with Ledger(storage) as ledger:
                ledger.progress(30)
                console("postgres-base", server, backup, "host=db-1.internal user=replicator")
                ledger.progress(30)
            ((moment,),) = server.sql("SELECT clock_timestamp()::text")
            kept = len(ledger.versions)
            storage.values.put("after/the/moment", b"x")
        server.sql("DROP SCHEMA infinitic CASCADE", DATABASE)
        ((segment,),) = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
        server.sql("SELECT pg_switch_wal()")
        eventually((archive / segment).exists, "the last of the log in the archive")
    with recovered(backup, moment) as server, statekeep.open(where(server)) as storage:
        assert storage.values.get("after/the/moment") is None
        assert verify(storage, ledger.versions, kept, kept) == kept


def recovered(backup: Path, moment: str) -> PostgresProcess:
    """A new server from the copy and the archive, up to a moment."""
    server = PostgresProcess()
    try:
        server.stop()
        shutil.rmtree(server.data)
        shutil.copytree(backup / "base", server.data)
        server.configure({
            "unix_socket_directories": f"'{server.folder}'", "port": str(server.port),
            **settings("backups", "postgres-recovery", {
                "/backup": backup, "2026-11-25 12:00:00+00": moment,
            }),
        })  # fmt: skip
        (server.data / "recovery.signal").touch()
        for path in (server.data, *server.data.rglob("*")):
            own(path)
        server.start()
        eventually(lambda: not server.sql("SELECT pg_is_in_recovery()")[0][0], "the recovery")
    except BaseException:
        server.close()
        raise
    return server
