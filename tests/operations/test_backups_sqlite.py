"""docs/backups.md on SQLite: copied under load, destroyed, restored; and encryption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import statekeep

from tests.operations.ledger import Ledger, verify
from tests.operations.pages import block
from tests.operations.shell import run


@pytest.mark.parametrize("how", ["back_up", "back_up_compactly"])
def test_a_copy_that_is_made_under_load_is_restored(how: str, tmp_path: Path) -> None:
    """What was acknowledged before is there; a log that is left behind is removed with the file."""
    page: dict[str, Any] = {}
    for name in ("sqlite-backup", "sqlite-vacuum"):
        exec(block("backups", name), page)
    path, copy = tmp_path / "state.db", tmp_path / "copy.db"
    with statekeep.open({"sqlite": {"path": str(path)}}) as storage, Ledger(storage) as ledger:
        least = ledger.progress(100)
        page[how](str(path), str(copy))
        ledger.progress(100)
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    copy.rename(path)
    with statekeep.open({"sqlite": {"path": str(path), "integrity_check": "full"}}) as storage:
        assert verify(storage, ledger.versions, least) < len(ledger.versions)


def test_a_backup_that_is_encrypted_can_be_read_again(tmp_path: Path) -> None:
    """Only what was encrypted is unreadable, and what comes back is the same."""
    key = tmp_path / "key"
    key.write_text("far away\n")
    plain = tmp_path / "state.dump"
    plain.write_bytes(b"all state in the clear" * 1000)
    here = {"/run/secrets/backup": key, "/backup": tmp_path}
    run("backups", "encrypt", here, program="openssl")
    assert b"in the clear" not in (tmp_path / "state.dump.enc").read_bytes()
    assert (tmp_path / "again.dump").read_bytes() == plain.read_bytes()
