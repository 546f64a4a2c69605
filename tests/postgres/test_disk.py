"""The server's disk is full: a clear error, nothing half applied, and all works with room again.

These tests mount small file systems in memory, which needs root (in CI: a privileged container).
Without it they fail and say so, as a skipped test would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from statekeep import OutcomeUnknown, Storage, Unavailable

from tests.postgres.conftest import Open
from tests.postgres.loads import patiently
from tests.servers.postgres import SAFE, PostgresProcess, eventually, own, tmpfs


@pytest.fixture
def small() -> Iterator[Path]:
    """A file system of 24 MB."""
    with tmpfs("24m") as folder:
        yield folder


def fill(storage: Storage) -> tuple[int, set[int], Unavailable]:
    """Writes until it is full: how many were tried, which of them are unknown, and the error."""
    unknown: set[int] = set()
    for number in range(400):
        try:
            with storage.transaction() as tx:
                tx.add("set", b"%d" % number)
                tx.put(f"value/{number:04}", bytes([number % 251]) * 200_000, expected=0)
                tx.schedule("timers", f"{number}", due=timedelta(hours=1))
        except OutcomeUnknown:
            unknown.add(number)
        except Unavailable as error:
            return number, unknown, error
    raise AssertionError("the disk never got full")


def test_tables_without_room(small: Path, opened: Open) -> None:
    """53100: nothing of the transaction is applied, reads go on; with room again, all does."""
    with PostgresProcess(SAFE) as server:
        place = small / "tables"
        place.mkdir()
        own(place)
        ballast = small / "ballast"
        ballast.write_bytes(b"\0" * 2_000_000)
        server.sql(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.sql("CREATE DATABASE work")
        server.sql("ALTER DATABASE work SET default_tablespace = small")
        server.sql("ALTER DATABASE work SET temp_tablespaces = pg_default")
        storage = opened(server, database="work")
        incompressible(server, "work")
        number, unknown, error = fill(storage)
        assert "53100" in str(error) and "disk is full" in str(error)
        assert "nothing was applied" in str(error) and not unknown
        assert storage.sets.members("set") == {b"%d" % n for n in range(number)}
        assert {message.id for message in storage.deferred.scan("timers")} == {
            f"{n}" for n in range(number)
        }
        assert storage.values.get(f"value/{number:04}") is None
        ballast.unlink()
        for done in range(number // 2):
            assert storage.values.delete(f"value/{done:04}")
        assert storage.values.put(f"value/{number:04}", b"x" * 200_000, expected=0) > 0


def incompressible(server: PostgresProcess, database: str) -> None:
    """What is written is what is stored."""
    ((schema,),) = server.sql(
        "SELECT schemaname FROM pg_tables WHERE tablename = 'key_value_storage'", database
    )
    server.sql(f"ALTER TABLE {schema}.key_value_storage ALTER value SET STORAGE EXTERNAL", database)


@pytest.mark.timeout(120)
def test_a_log_without_room(opened: Open) -> None:
    """The write-ahead log has none: the server ends itself. What it acknowledged is there later."""
    with (
        tmpfs("150m") as folder,
        PostgresProcess(
            {**SAFE, "max_wal_size": "1GB", "checkpoint_timeout": "1h"}, data=folder
        ) as server,
    ):
        ballast = folder / "ballast"
        storage = opened(server)
        incompressible(server, "postgres")
        ballast.write_bytes(b"\0" * 24_000_000)
        number, unknown, _ = fill(storage)
        ballast.unlink()
        eventually(lambda: server.ended() or _answers(storage), "its end, or its recovery")
        if server.ended():
            server.start()
        patiently(storage.ping)
        found = {int(key[6:]) for key, _ in storage.values.scan("value/")}
        assert set(range(number)) - unknown <= found <= set(range(number))
        assert found == {int(member) for member in storage.sets.members("set")}


def _answers(storage: Storage) -> bool:
    try:
        storage.ping()
    except Unavailable:
        return False
    return True
