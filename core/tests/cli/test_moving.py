"""`migrate`, `verify`, `export`, `import`, `archive`."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import migration
from statekeep.cli.progress import Display, display
from statekeep.cli.stores import place
from statekeep.config import load
from statekeep.errors import Unavailable
from statekeep.migration import EVERYTHING, Count, Progress
from statekeep.migration.patience import Patience
from statekeep.model import RecordKind

A, B = "sqlite:///a.db", "sqlite:///b.db"
BOTH = ("--from", A, "--to", B)
HOUR = timedelta(hours=1)
PASSWORD = "hunter2"


@pytest.fixture
def stored() -> None:
    """A store with a record of each kind."""
    with statekeep.open(A) as storage:
        storage.values.put("k", b"value")
        storage.values.put("mortal", b"", ttl=HOUR)
        storage.sets.add("s", b"a", b"b")
        storage.deferred.schedule("q", "1", due=HOUR, payload=b"p")


@pytest.fixture
def many() -> int:
    """As many records as take a while."""
    with statekeep.open(A) as storage:
        storage.values.put_many({f"key/{number:06}": b"x" * 100 for number in range(60_000)})
    return 60_000


def test_migrate_copies_and_verifies(run: Any, stored: None, elsewhere: Path) -> None:
    """The counts by kind, no differences, and no checkpoint is left."""
    ran = run("migrate", *BOTH, "--json")
    assert ran.code == 0
    kinds = ran.json["kinds"]
    assert kinds["values"] == {"records": 2, "bytes": 5, "written": 2}
    assert kinds["sets"] == {"records": 1, "members": 2, "bytes": 2, "written": 1}
    assert (ran.json["differences"], ran.json["resumed"]) == (0, False)
    assert run("verify", *BOTH).code == 0
    assert list(elsewhere.glob("*.json")) == []


def test_both_stores_may_be_named_in_the_environment(
    run: Any, stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody but the user sees a password."""
    monkeypatch.setenv("STATEKEEP_FROM", A)
    monkeypatch.setenv("STATEKEEP_TO", B)
    assert run("migrate").code == 0
    assert run("verify").code == 0


def test_verify_lists_what_differs(run: Any, stored: None) -> None:
    """A line for each, exit code 1; in JSON with the versions, and a summary at the end."""
    run("migrate", *BOTH)
    run("--url", B, "put", "k", "changed")
    run("--url", B, "set", "add", "s", "c")
    run("--url", B, "deferred", "cancel", "q", "1")
    ran = run("verify", *BOTH)
    assert ran.code == 1
    assert ran.lines[:3] == [
        "values\tk\tversion, value",
        "sets\ts\textra",
        "deferred\tq/1\tmissing",
    ]
    value, member, message, summary = run("verify", *BOTH, "--json").jsons
    assert (value["key"], value["difference"]) == ("k", ["version", "value"])
    assert value["target_version"] == value["source_version"] + 1
    assert (member["member"], member["encoding"]) == ("c", "utf-8")
    assert (message["queue"], message["id"], message["difference"]) == ("q", "1", ["missing"])
    assert summary["differences"] == 3


def test_many_differences_are_cut_for_people(run: Any) -> None:
    """Twenty of them, and how many more there are; JSON has all."""
    with statekeep.open(A) as storage:
        storage.values.put_many({f"k{number:02}": b"" for number in range(30)})
    run("--url", B, "check", "--create")
    ran = run("verify", *BOTH)
    assert sum("missing" in line for line in ran.lines) == 20
    assert "10 more differences" in ran.err
    assert len(run("verify", *BOTH, "--json").jsons) == 31


def test_what_the_target_has_is_not_replaced_unless_told(run: Any, stored: None) -> None:
    """Exit code 1 and what to say; then skip, overwrite or newer."""
    run("--url", B, "put", "k", "theirs")
    ran = run("migrate", *BOTH)
    assert ran.code == 1
    assert "not empty" in ran.err and "--on-conflict" in ran.err
    assert run("migrate", *BOTH, "--on-conflict", "skip", "--json").jsons[-1]["differences"] == 1
    assert run("--url", B, "get", "k").raw == b"theirs"
    assert run("migrate", *BOTH, "--on-conflict", "overwrite").code == 0
    assert run("--url", B, "get", "k").raw == b"value"


def test_newer_brings_a_copy_up_to_date(run: Any, stored: None) -> None:
    """What changed is written, and with --delete what is gone is deleted; only that."""
    assert run("migrate", *BOTH, "--on-conflict", "newer").code == 0
    run("--url", A, "put", "k", "again")
    run("--url", A, "delete", "mortal")
    ran = run("migrate", *BOTH, "--on-conflict", "newer", "--json")
    assert (ran.code, ran.jsons[-1]["kinds"]["values"]["written"]) == (1, 1)
    ran = run("migrate", *BOTH, "--on-conflict", "newer", "--delete", "--json")
    assert (ran.code, ran.json["kinds"]["values"]["deleted"]) == (0, 1)
    assert "goes with" in run("migrate", *BOTH, "--delete").err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("migrate", "--from", A, "--to", A), "same store"),
        (("migrate", *BOTH, "--url", A), "--from and --to"),
        (("verify", *BOTH, "--kinds", "values,tags"), "'tags' is no kind"),
        (("migrate", "--from", A), "--to"),
        (("migrate", "--from", f"postgres//u:{PASSWORD}@h/d", "--to", B), "neither"),
        (("export", "nowhere/x.gz", "--url", A), "no folder"),
        (("import", "missing.gz"), "missing.gz"),
        (("archive", "x.gz", "--url", A), "--prefix"),
        (("archive", "x.gz", "--url", A, "--prefix", ""), "prefix"),
        (("archive", "x.gz", "--url", A, "--prefix", "k", "--kinds", "deferred"), "messages"),
        (("export", "x.gz", "--url", A, "--since", "yesterday"), "no time"),
        (("export", "x.gz", "--url", A, "--since", "2026-01-01Z", "--kinds", "sets"), "since"),
    ],
)
def test_wrong_usage_does_nothing(run: Any, stored: None, arguments: Any, reason: str) -> None:
    """Exit code 2, and the reason."""
    ran = run(*arguments)
    assert ran.code == 2, ran.err
    assert reason in ran.err
    assert PASSWORD not in ran.err
    assert not Path("b.db").exists()
    assert not Path("x.gz").exists()


def test_a_source_that_is_not_there_is_not_created(run: Any) -> None:
    """Nor is its target."""
    for command in (("migrate", *BOTH), ("verify", *BOTH), ("export", "x.gz", "--url", A)):
        ran = run(*command)
        assert (ran.code, "there is no store" in ran.err) == (1, True)
    assert list(Path().iterdir()) == []


def interrupted(number: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a move, and sends a signal as soon as its checkpoint says that something was copied."""
    process = subprocess.Popen(
        [sys.executable, "-m", "statekeep.cli", "migrate", *BOTH, "--batch", "100", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None:
        files = list(Path().glob("*.json"))
        if files and json.loads(files[0].read_text())["counts"]:
            os.kill(process.pid, number)
            break
        time.sleep(0.001)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_ctrl_c_leaves_a_checkpoint_that_the_same_command_goes_on_from(run: Any, many: int) -> None:
    """It says so, and the counts of both runs are one sum."""
    ran = interrupted(signal.SIGINT, "--workers", "1")
    assert ran.returncode == 130
    (file,) = Path().glob("statekeep-migrate-*.json")
    assert f"the same command goes on from where it was ({file})" in ran.stderr.decode()
    copied = json.loads(file.read_text())["counts"]["key_value"]["records"]
    assert 0 < copied < many
    ended = run("migrate", *BOTH, "--json")
    assert (ended.code, ended.json["resumed"]) == (0, True)
    assert ended.json["kinds"]["values"]["records"] == many
    assert not file.exists()


def test_a_checkpoint_is_of_one_pair_and_holds_no_secret(run: Any, stored: None) -> None:
    """Another target is refused; a password is not in the file, nor in its name."""
    with statekeep.open(B) as storage:
        storage.values.put("k", b"conflict")
    run("migrate", *BOTH, "--on-conflict", "skip", "--checkpoint", "c.json", "--no-verify")
    assert not Path("c.json").exists()
    for url in (f"postgres://u:{PASSWORD}@h/d", f"redis://u:{PASSWORD}@h/1"):
        where = place(load(url))
        assert PASSWORD not in where
        assert "h" in where
        assert where == place(load(url.replace("u:", "v:")))
        assert where != place(load(url.replace("@h", "@i")))
    Path("c.json").write_text("{}")
    ran = run("migrate", *BOTH, "--checkpoint", "c.json")
    assert (ran.code, "no checkpoint" in ran.err) == (2, True)


def test_export_and_import_through_files_and_pipes(run: Any, process: Any, stored: None) -> None:
    """The same records, by name and by pipe."""
    assert run("export", "x.gz", "--url", A, "--json").json["kinds"]["values"]["records"] == 2
    assert Path("x.gz").stat().st_mode & 0o777 == 0o600
    ran = run("import", "x.gz", "--url", B)
    assert ran.code == 0
    assert run("verify", *BOTH).code == 0
    piped = process("export", "-", "--url", A)
    assert piped.code == 0
    again = process("import", "-", "--url", "sqlite:///c.db", "--json", stdin=piped.raw)
    assert again.json["kinds"]["deferred"]["written"] == 1
    assert run("verify", "--from", A, "--to", "sqlite:///c.db").code == 0


def test_export_replaces_no_file_unless_told_and_leaves_no_half_one(run: Any, stored: None) -> None:
    """--force replaces it; a failure leaves what was there."""
    Path("x.gz").write_bytes(b"precious")
    assert run("export", "x.gz", "--url", A).code == 2
    with closing(sqlite3.connect("a.db")) as connection, connection:
        connection.execute("UPDATE key_value_storage SET value = x'00' WHERE key = 'k'")
    assert run("export", "x.gz", "--url", A, "--force").code == 5
    assert Path("x.gz").read_bytes() == b"precious"
    assert not list(Path().glob(".x.gz*"))
    run("--url", A, "delete", "k")
    assert run("export", "x.gz", "--url", A, "--force").code == 0
    assert json.loads(gzip.decompress(Path("x.gz").read_bytes()).splitlines()[1])["key"] == "mortal"


def test_a_damaged_file_is_refused_and_nothing_is_created(run: Any, stored: None) -> None:
    """Exit code 5, and how much of it was good; --dry-run finds it as well."""
    run("export", "x.gz", "--url", A)
    whole = Path("x.gz").read_bytes()
    Path("cut.gz").write_bytes(whole[:-30])
    for more in ((), ("--dry-run",)):
        ran = run("import", "cut.gz", "--url", B, *more)
        assert (ran.code, "the 4 records before are good" in ran.err) == (5, True)
    assert not Path("b.db").exists()
    ran = run("import", "x.gz", "--url", B, "--dry-run", "--json")
    assert ran.json["kinds"]["sets"] == {"records": 1, "members": 2, "bytes": 2}
    assert not Path("b.db").exists()


def test_import_settles_conflicts_as_told(run: Any, stored: None) -> None:
    """Fail writes nothing, skip keeps, overwrite replaces."""
    run("export", "x.gz", "--url", A)
    run("--url", B, "put", "k", "theirs")
    ran = run("import", "x.gz", "--url", B)
    assert (ran.code, "'k'" in ran.err, "--on-conflict" in ran.err) == (1, True, True)
    assert run("--url", B, "list").lines[1:] == []
    assert run("import", "x.gz", "--url", B, "--on-conflict", "skip").code == 0
    assert run("--url", B, "get", "k").raw == b"theirs"
    assert run("import", "x.gz", "--url", B, "--on-conflict", "overwrite").code == 0
    assert run("--url", B, "get", "k").raw == b"value"


def test_archive_exports_verifies_and_deletes(run: Any, stored: None) -> None:
    """What has the prefix is in the file and not in the store, and comes back by import."""
    ran = run("archive", "x.gz", "--url", A, "--prefix", "m", "--json")
    assert ran.code == 0
    assert ran.json["kinds"]["values"]["deleted"] == 1
    assert ran.json["changed"] == []
    assert [line.split("\t")[0] for line in run("--url", A, "list").lines] == ["k"]
    assert run("archive", "x.gz", "--url", A, "--prefix", "m").code == 2
    run("import", "x.gz", "--url", A)
    assert run("--url", A, "get", "mortal").code == 0
    ran = run("archive", "x.gz", "--url", A, "--prefix", "m", "--resume")
    assert ran.code == 0
    assert run("--url", A, "get", "mortal").code == 1
    assert run("archive", "s.gz", "--url", A, "--prefix", "s").code == 0
    assert run("--url", A, "set", "members", "s").code == 1
    assert run("export", "k.gz", "--url", A, "--prefix", "k", "--kinds", "values").code == 0
    run("--url", A, "put", "k", "changed")
    ran = run("archive", "k.gz", "--url", A, "--prefix", "k", "--resume", "--json")
    assert (ran.code, ran.json["changed"]) == (1, ["k"])


@pytest.mark.parametrize("only", [("--prefix", "k"), ("--prefix", "s", "--kinds", "values")])
def test_archive_goes_on_only_with_a_file_of_what_it_was_told(
    run: Any, stored: None, only: tuple[str, ...]
) -> None:
    """A file that holds other keys or kinds too deletes none of them, nor of those meant."""
    run("--url", A, "put", "s", "value")
    assert run("export", "x.gz", "--url", A, "--kinds", "values,sets").code == 0
    ran = run("archive", "x.gz", "--url", A, *only, "--resume")
    assert (ran.code, "Nothing was deleted" in ran.err) == (2, True)
    assert len(run("--url", A, "list").lines) == 3
    assert run("--url", A, "set", "members", "s").code == 0


def test_archive_writes_no_file_of_what_it_cannot_delete(run: Any, stored: None) -> None:
    """A store that is read-only is refused first."""
    Path("read.toml").write_text('[storage.sqlite]\npath = "a.db"\nread_only = true\n')
    ran = run("--config", "read.toml", "archive", "x.gz", "--prefix", "k")
    assert (ran.code, "read-only" in ran.err) == (2, True)
    assert not Path("x.gz").exists()


@pytest.mark.parametrize("command", [("export",), ("archive", "--prefix", "k")])
def test_a_file_that_appears_meanwhile_stays(
    run: Any, stored: None, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two at once with one file's name, the later fails: an archive deletes nothing then."""
    export = migration.export

    def meanwhile(*arguments: Any, **options: Any) -> migration.Tally:
        tally = export(*arguments, **options)
        Path("x.gz").write_bytes(b"of the first")
        return tally

    monkeypatch.setattr(migration, "export", meanwhile)
    ran = run(*command, "x.gz", "--url", A)
    assert (ran.code, ran.err.strip()) == (70, "statekeep: x.gz: File exists")
    assert Path("x.gz").read_bytes() == b"of the first"
    assert not list(Path().glob(".x.gz*"))
    assert run("--url", A, "get", "k").code == 0


@pytest.mark.parametrize("there", [True, False])
def test_import_reads_a_named_pipe(run: Any, stored: None, there: bool) -> None:
    """As a shell's `<(...)` is one; also where the store is still to be made."""
    assert run("export", "x.gz", "--url", A).code == 0
    if there:
        assert run("--url", B, "check", "--create").code == 0
    os.mkfifo("pipe")
    with subprocess.Popen(["sh", "-c", "cat x.gz >pipe"]):
        assert run("import", "pipe", "--url", B).code == 0
    assert run("verify", *BOTH).code == 0


def test_progress_is_shown_with_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines on stderr, for people or as JSON; a total where the store was counted."""
    moments = iter([100.0, 110.0, 120.0, 200.0, 210.0])
    counts = {RecordKind.KEY_VALUE: Count(records=200, bytes=3_000_000)}
    lines = Display(as_json=False, clock=lambda: next(moments))
    lines(Progress("copy", {}))
    lines(Progress("copy", counts))
    lines.estimate.records = 1000
    lines(Progress("copy", counts))
    assert capsys.readouterr().err.splitlines() == [
        "copy: 200 records, 3.0 MB, 20/s",
        "copy: 200 of 1000 records, 3.0 MB, 10/s, about 80 s left",
    ]
    objects = Display(as_json=True, clock=lambda: next(moments))
    objects(Progress("copy", {}))
    objects(Progress("copy", counts))
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert line == {
        "progress": "copy",
        "records": 200,
        "total": None,
        "bytes": 3_000_000,
        "records_per_second": 20,
        "seconds_left": None,
    }


def test_a_comparison_is_as_far_as_the_source_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where little of it is at the target, and so little is counted."""
    moments = iter([100.0, 110.0])
    lines = Display(as_json=False, clock=lambda: next(moments))
    lines.estimate.records = 1000
    lines(Progress("verify", {}, read=0))
    lines(Progress("verify", {RecordKind.KEY_VALUE: Count(records=1, bytes=9)}, read=500))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "verify: 500 of 1000 records, 0.0 MB, 50/s, about 10 s left"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_store_that_is_away_is_said_while_it_is_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    """Once, with how long it is waited for; what is over at once is no news."""
    monkeypatch.setattr("statekeep.migration.patience.TOLD_DELAY", 0.01)
    failures = iter([Unavailable("redis: gone"), Unavailable("redis: gone"), Unavailable("no")])

    def call() -> str:
        for failure in failures:
            raise failure
        return "there"

    with display(as_json, None, EVERYTHING):
        assert Patience(timedelta(seconds=9)).call(call) == "there"
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)["warning"] if as_json else line
    assert said == "asking again for up to 9 s: redis: gone"
    assert not logging.getLogger("statekeep.migration").handlers
