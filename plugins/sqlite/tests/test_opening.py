"""Opening a file: what is created, what is refused, and what is left alone."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from statekeep.errors import ConfigError, CorruptValue, StorageError, Unavailable, Unsupported
from statekeep.model import Put, Transaction
from statekeep.storage import Storage
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend
from statekeep_sqlite.schema import COLUMNS, LAYOUT

Open = Callable[..., Storage]


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def filled(opened: Open, count: int = 300) -> None:
    with opened() as storage:
        storage.values.put_many({f"key/{number}": b"x" * 1000 for number in range(count)})


def refused(opened: Open, error: type[StorageError], text: str, **options: object) -> None:
    with pytest.raises(error, match=text):
        opened(**options)


def test_missing_tells_and_creates_nothing(path: Path, opened: Open) -> None:
    """The file and each table, until they are there."""
    backend = SqliteBackend(SqliteConfig(path=str(path)))
    missing = backend.missing()
    assert str(path) in missing[0]
    assert all(any(table in phrase for phrase in missing) for table in COLUMNS)
    assert not path.exists()
    backend.setup()
    assert backend.missing() == ()
    backend.close()
    run(path, "DROP TABLE key_set_storage", "DROP INDEX key_value_storage_expires")
    backend = SqliteBackend(SqliteConfig(path=str(path)))
    assert len(backend.missing()) == 2
    backend.setup()
    assert backend.missing() == ()
    backend.close()


def test_setup_may_be_repeated(opened: Open) -> None:
    """It leaves what is there."""
    opened().values.put("key", b"value")
    storage = opened()
    storage.backend.setup()
    assert storage.values.get("key") is not None


def test_other_tables_stay_as_they_are(path: Path, opened: Open) -> None:
    """The file of an application may hold the state too."""
    run(path, "CREATE TABLE orders (id INTEGER)", "INSERT INTO orders VALUES (1)")
    opened().values.put("key", b"value")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE key_value_storage (key TEXT, value TEXT)",
        "CREATE VIEW key_set_storage AS SELECT 1 AS key, 2 AS member",
        "CREATE TABLE statekeep_layout (name TEXT)",
    ],
)
def test_a_foreign_table_of_our_name_is_refused(path: Path, opened: Open, statement: str) -> None:
    """And the file is not changed, not even its journal mode."""
    run(path, statement)
    before = path.read_bytes()
    refused(opened, ConfigError, "not statekeep's")
    assert path.read_bytes() == before


def test_a_newer_layout_is_refused(path: Path, opened: Open) -> None:
    """An old program must not write what it does not understand."""
    opened().close()
    run(path, f"UPDATE statekeep_layout SET value = {LAYOUT + 1} WHERE name = 'layout'")
    refused(opened, ConfigError, "pip install --upgrade statekeep-sqlite")


def test_another_encoding_is_refused(path: Path, opened: Open) -> None:
    """In UTF-16 the order of keys is not that of their bytes."""
    run(path, "PRAGMA encoding = 'UTF-16'", "CREATE TABLE mine (id)")
    refused(opened, ConfigError, "UTF-16")


def test_what_is_no_database_is_refused(path: Path, opened: Open) -> None:
    """And stays as it is."""
    path.write_bytes(b"This is a text and no database at all. " * 100)
    before = path.read_bytes()
    refused(opened, ConfigError, "no SQLite database")
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path, opened: Open) -> None:
    """It is not created: a wrong path would go unnoticed."""
    refused(opened, ConfigError, "there is no folder", path=str(tmp_path / "no" / "state.db"))


def test_a_folder_is_no_file(tmp_path: Path, opened: Open) -> None:
    """As said."""
    refused(opened, ConfigError, "is a folder", path=str(tmp_path))


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"create": False}])
@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/state.db"])
def test_a_name_that_is_too_long(tmp_path: Path, opened: Open, name: str, options: Any) -> None:
    """Refused by whoever asks for the file."""
    long = str(tmp_path / name)
    refused(opened, ConfigError, "cannot be opened: File name too long", path=long, **options)
    with pytest.raises(ConfigError, match="too long"):
        SqliteBackend(SqliteConfig(path=long, **options)).missing()


def test_create_false_creates_nothing(path: Path, opened: Open) -> None:
    """Neither a file nor tables."""
    refused(opened, ConfigError, "does not exist", create=False)
    assert not path.exists()
    run(path, "CREATE TABLE orders (id INTEGER)")
    before = path.read_bytes()
    refused(opened, ConfigError, "create = false", create=False)
    assert path.read_bytes() == before
    opened().close()
    opened(create=False).values.put("key", b"value")


@pytest.mark.parametrize("mode", ["auto", "quick", "full"])
def test_damage_is_found_when_opening(path: Path, opened: Open, mode: str) -> None:
    """A page in the middle that was overwritten."""
    filled(opened)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    refused(opened, CorruptValue, "damaged", integrity_check=mode)


@pytest.mark.parametrize("mode", ["off", "auto", "full"])
def test_a_truncated_file_is_found_when_opening(path: Path, opened: Open, mode: str) -> None:
    """Even without a check: the header knows the length."""
    filled(opened)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    refused(opened, CorruptValue, "damaged", integrity_check=mode)


def test_damage_that_opening_did_not_look_for(path: Path, opened: Open) -> None:
    """Is found at the latest when it is read."""
    filled(opened)
    content = bytearray(path.read_bytes())
    for page in range(4096 * 12, len(content) - 4096, 4096):
        content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    storage = opened(integrity_check="off")
    with pytest.raises(CorruptValue):
        storage.values.get_many([f"key/{number}" for number in range(300)])


def test_what_others_wrote_is_not_taken_for_data(path: Path, opened: Open) -> None:
    """A text in place of bytes, put there by hand."""
    storage = opened()
    run(path, "INSERT INTO key_value_storage VALUES ('key', 1, NULL, 'text')")
    with pytest.raises(CorruptValue, match="key"):
        storage.values.get("key")


@pytest.mark.parametrize("column", ["version", "expires"])
def test_a_text_in_a_column_of_numbers_is_damage(path: Path, opened: Open, column: str) -> None:
    """For whoever reads, writes or deletes; above all no version begins again at 1."""
    storage = opened()
    storage.values.put("key", b"value")
    run(path, f"UPDATE key_value_storage SET {column} = 'abc'")
    for call in (
        lambda: storage.values.get("key"),
        lambda: storage.values.get_many(["key", "other"]),
        lambda: list(storage.values.scan()),
        lambda: storage.values.put("key", b"new"),
        lambda: storage.values.put("key", b"new", expected=0),
        lambda: storage.values.put("key", b"new", expected=1),
        lambda: storage.values.put_many({"key": b"new", "other": b""}),
        lambda: storage.values.delete("key"),
    ):
        with pytest.raises(CorruptValue, match="'key' in key_value_storage"):
            call()
    run(path, "DELETE FROM key_value_storage")
    assert storage.values.put("key", b"new") > 1


@pytest.mark.parametrize("column", ["due", "attempt", "token", "payload", "visible"])
def test_a_damaged_message_is_named(path: Path, opened: Open, column: str) -> None:
    """By a scan, and by the claim that comes upon it."""
    storage = opened()
    storage.deferred.schedule("queue", "id", due=timedelta(0))
    wrong = {"token": "x'00'", "visible": "-1.5"}.get(column, "'abc'")
    run(path, f"UPDATE deferred_message_storage SET {column} = {wrong}")
    with pytest.raises(CorruptValue, match="'queue/id' in deferred_message_storage"):
        list(storage.deferred.scan("queue"))
    if column not in ("token", "visible"):  # these a claim writes anew
        with pytest.raises(CorruptValue, match="'queue/id' in deferred_message_storage"):
            storage.deferred.claim("queue")


def test_a_layout_that_is_no_number_is_damage(path: Path, opened: Open) -> None:
    """It is not guessed."""
    opened().close()
    run(path, "UPDATE statekeep_layout SET value = 'x' WHERE name = 'layout'")
    refused(opened, CorruptValue, "'layout' in statekeep_layout")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM statekeep_layout WHERE name = 'floor'",
        "UPDATE statekeep_layout SET value = 'abc' WHERE name = 'floor'",
    ],
)
def test_a_missing_floor_is_restored(path: Path, opened: Open, statement: str) -> None:
    """While it is missing nothing is created, and what is there can be changed."""
    storage = opened()
    storage.values.put("key", b"1")
    run(path, statement)
    storage.values.put("key", b"2")
    for create in (
        lambda: storage.values.put("new", b""),
        lambda: storage.values.put("new", b"", expected=0),
        lambda: storage.values.put_many({"new": b"", "other": b""}),
    ):
        with pytest.raises(CorruptValue, match="'floor' in statekeep_layout"):
            create()
    assert storage.backend.missing() == ("row of statekeep_layout floor",)
    again = opened()
    assert again.backend.missing() == ()
    assert again.values.put("new", b"") > 1


def test_read_only_reads_and_refuses_writes(opened: Open) -> None:
    """Every write, before anything is done; another may write meanwhile."""
    writer = opened()
    writer.values.put("key", b"1")
    reader = opened(read_only=True)
    assert reader.capabilities.read_only
    writer.values.put("key", b"2")
    writer.sets.add("set", b"member")
    entry = reader.values.get("key")
    assert entry is not None and entry.value == b"2"
    assert reader.sets.members("set") == {b"member"}
    assert list(reader.values.scan()) and reader.stats().kinds
    reader.ping()
    with pytest.raises(Unsupported):
        reader.values.put("key", b"3")
    with pytest.raises(Unsupported):
        reader.backend.commit([Transaction((Put("key", b"3"),))])
    with pytest.raises(Unsupported):
        reader.deferred.claim("queue")
    with pytest.raises(Unsupported):
        reader.purge()


def test_read_only_creates_nothing(path: Path, opened: Open) -> None:
    """Neither a file nor tables."""
    refused(opened, ConfigError, "does not exist", read_only=True)
    run(path, "CREATE TABLE orders (id INTEGER)")
    refused(opened, ConfigError, "read only", read_only=True)


def test_a_file_replaced_while_in_use_is_noticed(path: Path, opened: Open) -> None:
    """By `ping`: what is written to a deleted file is lost."""
    storage = opened()
    storage.ping()
    path.rename(path.with_name("moved.db"))
    with pytest.raises(Unavailable, match="replaced"):
        storage.ping()


def test_a_file_of_the_newest_layout_needs_no_lock(path: Path, opened: Open) -> None:
    """Opening an existing file does not wait for its writer."""
    opened().close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opened(busy_timeout=0).close()


SETUP = """
import sys
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend
from statekeep.storage import Storage
backend = SqliteBackend(SqliteConfig(path=sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
backend.setup()
Storage(backend).values.put(sys.argv[2], b"")
backend.close()
"""


def test_setup_raced_by_processes(path: Path, opened: Open) -> None:
    """Eight at once on a file that is not there: all succeed, and all find one another's."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", SETUP, path, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(8)
    ]
    for racer in racers:
        assert racer.stdout is not None
        racer.stdout.readline()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"\n")
        racer.stdin.flush()
    errors = [racer.communicate(timeout=60)[1].decode() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 8, errors
    assert len(list(opened(integrity_check="full").values.scan())) == 8
