"""`examine()` of files that were made sick."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from statekeep import Storage
from statekeep.clock import from_micros, now_micros
from statekeep.findings import Finding, Severity
from statekeep.model import DeferredMessage, Restore, Transaction
from statekeep_sqlite import SqliteConfig, doctor, mounts
from statekeep_sqlite.backend import SqliteBackend

MIB = 2**20
MINUTES = 60_000_000


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[SqliteBackend]:
    backend = SqliteBackend(SqliteConfig(path=str(path), **options))
    with closing(backend):
        backend.setup()
        yield backend


def found(backend: SqliteBackend) -> dict[str, Finding]:
    """The findings by their check; each must be one that the docs explain."""
    findings = list(backend.examine())
    assert {each.check for each in findings} <= set(doctor.CHECKS)
    for each in findings:
        assert (each.severity is Severity.GOOD) != bool(each.meaning), each
    return {each.check: each for each in findings}


def look(path: Path, **options: Any) -> dict[str, Finding]:
    with closing(SqliteBackend(SqliteConfig(path=str(path), **options))) as backend:
        return found(backend)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a value in it."""
    path = tmp_path / "state.db"
    with opened(path) as backend:
        Storage(backend).values.put("key", b"value")
    return path


def test_a_healthy_file(file: Path) -> None:
    """No problem; advice at most of SQLite's version and of where the tests run."""
    findings = look(file)
    bad = {name for name, each in findings.items() if each.severity is not Severity.GOOD}
    assert bad <= {"version", "file-system"}
    assert {"integrity", "queues", "expired", "wal-size"} <= set(findings)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The place is looked at, and nothing is created."""
    findings = look(tmp_path / "none.db")
    assert {"file-system", "disk-space"} <= set(findings)
    assert "integrity" not in findings
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ((3, 40, 1), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 9), False),
        ((3, 50, 7), True),
    ],
)
def test_versions_with_the_reset_of_the_log(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], good: bool
) -> None:
    """Mended in 3.51.3, and in two branches before."""
    there = SimpleNamespace(sqlite_version_info=version, sqlite_version=".".join(map(str, version)))
    monkeypatch.setattr(doctor, "sqlite3", there)
    assert (doctor._version().severity is Severity.GOOD) == good


@pytest.mark.parametrize(
    ("synchronous", "severity"), [("normal", Severity.ADVICE), ("off", Severity.PROBLEM)]
)
def test_commits_that_do_not_wait(file: Path, synchronous: str, severity: Severity) -> None:
    """What a power failure takes back."""
    finding = look(file, synchronous=synchronous)["synchronous"]
    assert (finding.severity, 'synchronous = "full"' in finding.remedy) == (severity, True)


def test_a_file_without_a_log(file: Path) -> None:
    """Somebody turned it off."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    finding = look(file)["journal_mode"]
    assert (finding.severity, finding.found) == (Severity.ADVICE, "delete")


def test_a_log_that_a_reader_keeps(file: Path) -> None:
    """A reader that does not end: the log grows beyond what it is cut back to."""
    with closing(sqlite3.connect(file, isolation_level=None)) as reader, opened(file) as backend:
        values = Storage(backend).values
        values.put("key", b"another")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM key_value_storage").fetchone()
        for number in range(9):
            values.put(f"large{number}", bytes(8 * MIB))
        finding = found(backend)["wal-size"]
        assert (finding.severity, "reader" in finding.meaning) == (Severity.ADVICE, True), finding
        assert "wal_checkpoint(TRUNCATE)" in finding.remedy


def test_room_that_nothing_uses(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After most of it was deleted."""
    monkeypatch.setattr(doctor, "MUCH_FREE", MIB)
    with opened(file) as backend:
        values = Storage(backend).values
        values.put("large", bytes(4 * MIB))
        values.delete("large")
        assert "VACUUM" in found(backend)["free-pages"].remedy


def test_a_damaged_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that was overwritten; and a large file is not read whole, which is said."""
    with opened(file) as backend:
        Storage(backend).values.put_many({f"{number}": bytes(3000) for number in range(100)})
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size // 2 // 4096 * 4096)
        damaged.write(b"\xff" * 4096)
    finding = look(file)["integrity"]
    assert (finding.severity, "damaged" in finding.found) == (Severity.PROBLEM, True)
    monkeypatch.setattr(doctor, "AUTO_CHECK_BYTES", 0)
    finding = look(file)["integrity"]
    assert (finding.severity, "quick_check" in finding.remedy) == (Severity.UNKNOWN, True)


def test_a_file_for_everybody(file: Path) -> None:
    """Any user of the machine could change the state."""
    file.chmod(0o666)
    finding = look(file)["permissions"]
    assert (finding.severity, finding.remedy) == (Severity.PROBLEM, f"chmod o-w {file}")


def test_a_file_that_may_not_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system says of a file of another user; root may write anything."""
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert "chown" in look(file)["permissions"].remedy
    assert look(file, read_only=True)["permissions"].severity is Severity.GOOD


def test_little_room_on_the_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before it is full."""
    for free, severity in ((100 * MIB, Severity.PROBLEM), (2**40, Severity.GOOD)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert look(file)["disk-space"].severity is severity
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 1)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=2))
    assert "VACUUM" in look(file)["disk-space"].meaning


TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:41 / /srv rw - nfs4 server:/export rw
31 30 254:1 / /srv/local\\040disk rw - xfs /dev/vdb rw
32 22 0:9 / /tmp rw - tmpfs tmpfs rw
33 32 0:10 / /tmp rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/srv/state", "nfs4"),
        ("/srv/local disk/x", "xfs"),
        ("/srvother", "ext4"),
        ("/tmp/x", "overlay"),
    ],
)
def test_the_file_system_of_a_folder(tmp_path: Path, folder: str, kind: str) -> None:
    """The deepest place that it is mounted at, and of several the last."""
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert mounts.kind(Path(folder), table) == kind


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("nfs4", Severity.PROBLEM),
        ("tmpfs", Severity.ADVICE),
        ("xfs", Severity.GOOD),
        (None, Severity.UNKNOWN),
    ],
)
def test_file_systems(
    file: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None, severity: Severity
) -> None:
    """A network's damages the file, a container's is gone with it, a system may not say."""
    monkeypatch.setattr(mounts, "kind", lambda _: kind)
    assert look(file)["file-system"].severity is severity


def test_a_system_without_a_table(tmp_path: Path) -> None:
    """As on macOS."""
    assert mounts.kind(tmp_path, tmp_path / "none") is None


def test_what_is_stored(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expired values; messages due long ago, left by a worker, that fail again and again."""
    monkeypatch.setattr("statekeep.examining.MANY_EXPIRED", 3)
    with opened(file) as backend:
        storage = Storage(backend)
        for number in range(4):
            storage.values.put(f"{number}", b"", ttl=timedelta(milliseconds=1))
        long_ago = from_micros(now_micros() - 9 * MINUTES)
        messages = [DeferredMessage("lonely", f"{number}", long_ago, b"") for number in range(3)]
        messages.append(DeferredMessage("left", "it", long_ago, b"", "token", 12))
        backend.commit([Transaction([Restore(each) for each in messages])])
        storage.deferred.schedule("later", "it", due=timedelta(hours=1))
        time.sleep(0.01)
        findings = found(backend)
    assert findings["expired"].remedy == "statekeep purge"
    stuck = findings["queues"]
    assert stuck.severity is Severity.PROBLEM
    assert "4 messages have been due" in stuck.found and "the oldest for 9 minutes" in stuck.found
    assert "3 in 'lonely', 1 in 'left' (5 messages of 3 queues looked at)" in stuck.found
    assert "1 in 'left'" in findings["leases"].found
    assert "one 12 times" in findings["attempts"].found


def test_more_than_is_looked_at_is_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The earliest messages of each queue, and so many queues."""
    monkeypatch.setattr("statekeep.examining.MOST_MESSAGES", 3)
    monkeypatch.setattr(doctor, "MOST_QUEUES", 2)
    with opened(file) as backend:
        deferred = Storage(backend).deferred
        for name in ("one", "two", "three"):
            for number in range(5):
                deferred.schedule(name, f"{number}", due=timedelta(hours=1))
        said = found(backend)["queues"].found
    assert "6 messages of 2 queues looked at" in said
    assert "no more than 3 of each and not the other queues" in said
