"""Conditional puts that travel together: what is told of each is so, whatever happens meanwhile."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from statekeep import Committed, Conflict, Failed, OutcomeUnknown, Put, Transaction
from statekeep.model import RecordKind, Restore
from statekeep_mysql.driver import Connection

from tests.mysql.conftest import Open
from tests.mysql.test_access import raw
from tests.servers.mysql import MysqlProcess, eventually


def alone(*puts: Put) -> list[Transaction]:
    return [Transaction((put,)) for put in puts]


def test_long_keys_of_many_bytes_a_character(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """Their statements are cut by what is sent, which is six digits for each such character."""
    backend = raw(opened(server, database=database))
    keys = ["漢" * 335 + f"{number:05}" for number in range(300)]
    created = backend.commit(alone(*(Put(key, b"", 0) for key in keys)))
    versions = [each.versions[key] for key, each in zip(keys, created, strict=True)]
    puts = [Put(key, b"1", version) for key, version in zip(keys, versions, strict=True)]
    outcomes = backend.commit(alone(*puts))
    assert [each.versions for each in outcomes] == [
        {put.key: (put.expected or 0) + 1} for put in puts
    ]


def test_a_value_that_expires_after_its_condition_was_found_true(
    opened: Open, server: MysqlProcess, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written over at that instant: the version that is told is the one that is stored."""
    backend = raw(opened(server, database=database))
    run = Connection.run

    def late(self: Connection, statements: Any, **options: Any) -> Any:
        if options.get("resume"):
            time.sleep(0.15)
        return run(self, statements, **options)

    monkeypatch.setattr(Connection, "run", late)
    lifetime = timedelta(milliseconds=100)
    (first,) = backend.commit([Transaction((Put("mortal", b"1", None, lifetime),))])
    version = first.versions["mortal"]
    unit = Transaction((Put("mortal", b"2", version), Put("with", b"", 0)))
    stale = Transaction((Put("absent", b"", 5),))  # so that it takes a second round trip
    done, conflict = backend.commit([unit, stale])
    assert done.versions["mortal"] == version + 1
    assert conflict == Conflict({"absent": 0})
    assert backend.get_many(["mortal"])["mortal"].version == version + 1


def test_a_value_that_is_restored_while_others_are_waited_for(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """Nothing locks what is absent: whoever expected it does not know, and nobody else minds."""
    backend = raw(opened(server, database=database))
    created = backend.commit(alone(Put("a", b"old", 0), Put("b", b"old", 0), Put("c", b"old", 0)))
    versions = {key: each.versions[key] for key, each in zip("abc", created, strict=True)}
    (record, *_) = backend.scan(RecordKind.KEY_VALUE, prefix="a", limit=1, cursor=None).items
    server.sql("DELETE FROM key_value_storage WHERE `key`='a'", database=database)
    told: list[Any] = []
    puts = [Put(key, b"new", version) for key, version in versions.items()]
    with server.client(database) as client, client.cursor() as cursor:
        client.begin()
        cursor.execute("SELECT 1 FROM key_value_storage WHERE `key`='b' FOR UPDATE")
        writer = threading.Thread(target=lambda: told.extend(backend.commit(alone(*puts))))
        writer.start()
        waiting = "SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_state='LOCK WAIT'"
        eventually(lambda: server.sql(waiting), "a writer that waits")
        backend.commit([Transaction((Restore(record),))])
        client.rollback()
        writer.join()
    assert isinstance(told[0], Failed) and isinstance(told[0].error, OutcomeUnknown)
    assert told[1:] == [Committed({key: versions[key] + 1}) for key in "bc"]
    found = backend.get_many(["a", "b", "c"])
    assert {entry.value for entry in found.values()} == {b"new"}
