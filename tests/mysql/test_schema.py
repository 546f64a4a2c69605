"""Tables: made once however many make them, and never over another program's."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import statekeep
from statekeep import ConfigError

from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.mysql.test_access import exercise, raw
from tests.servers.mysql import FAST, MysqlProcess

TABLES = {
    "key_value_storage", "key_set_storage", "deferred_message_storage", "key_value_storage_floor",
    "key_value_storage_layout",
}  # fmt: skip

OPENER = """
import sys, time
import statekeep
port, database, password, start, key = sys.argv[1:]
time.sleep(max(0.0, float(start) - time.time()))
config = {"host": "127.0.0.1", "port": int(port), "username": "app", "password": password,
          "database": database, "minimum_idle": 0}
with statekeep.open({"mysql": config}) as storage:
    storage.values.put(key, b"value", expected=0)
    assert storage.values.get(key).value == b"value"
"""


def tables(server: MysqlProcess, database: str) -> set[str]:
    """Those in a database."""
    return {name for (name,) in server.sql(f"SHOW TABLES FROM `{database}`")}


def test_twenty_processes_set_up_at_once(server: MysqlProcess, database: str) -> None:
    """Database and tables are made once, and all of them write."""
    start = time.time() + 6
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, str(server.port), database, APP["password"],
             str(start), f"key/{number}"],
            stderr=subprocess.PIPE, text=True,
        )
        for number in range(20)
    ]  # fmt: skip
    failed = [error for racer in racers for error in [racer.communicate(timeout=60)[1]]
              if racer.returncode]  # fmt: skip
    assert failed == []
    assert tables(server, database) == TABLES
    ((count,),) = server.sql(f"SELECT COUNT(*) FROM `{database}`.key_value_storage")
    assert count == 20


def test_names_may_hold_nearly_any_character(opened: Open, server: MysqlProcess) -> None:
    """Quotes, blanks, dots, semicolons, percent signs, and characters beyond ASCII."""
    names = {
        "database": "da`ta'ba\"se; drop %s {0} é.x",
        "key_value_table": "va`lues 'x' \\ {y} %(z)s",
        "key_set_table": 'se"ts; --',
        "deferred_table": "ti`mers.é",
    }
    exercise(opened(server, **names))
    exercise_again = opened(server, **names, create=False)
    assert exercise_again.sets.members("set") == {b"y"}


def test_long_names_are_told_apart(opened: Open, server: MysqlProcess, database: str) -> None:
    """What belongs to a table of 64 bytes has a name of its own."""
    long = "t" * 63
    one = opened(server, database=database, key_value_table=long + "1", key_set_table="s1",
                 deferred_table="d1")  # fmt: skip
    two = opened(server, database=database, key_value_table=long + "2", key_set_table="s2",
                 deferred_table="d2")  # fmt: skip
    one.values.put("key", b"1")
    assert two.values.get("key") is None
    assert len(tables(server, database)) == 10


@pytest.mark.parametrize(
    "options",
    [
        {"database": "x" * 65}, {"database": " "}, {"database": "x "},
        {"key_set_table": "\U0001f600"},
        {"key_set_table": "same", "key_value_table": "SAME"}, {"port": 0}, {"host": "a:99999"},
        {"ssl_mode": "prefer"}, {"password": "x", "password_file": "/y"}, {"ssl_key": "/k"},
        {"ssl_ca": "/ca"}, {"target_server_type": "replica"}, {"maximum_pool_size": 0},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    """By name, before anything is opened."""
    with pytest.raises(ConfigError, match=r"storage\.mysql"):
        statekeep.open({"mysql": options})


@pytest.mark.parametrize("name", sorted(TABLES))
def test_another_programs_table_is_left_alone(
    opened: Open, server: MysqlProcess, database: str, name: str
) -> None:
    """A table of our name with other columns: a ConfigError that shows both, and no change."""
    server.sql(f"CREATE DATABASE `{database}`")
    server.sql(f"CREATE TABLE `{database}`.`{name}` (id INT PRIMARY KEY, note TEXT)")
    with pytest.raises(ConfigError, match=r"is not statekeep's \(its columns: id int not null"):
        opened(server, database=database)
    assert tables(server, database) == {name}


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE key_value_storage MODIFY `key` VARBINARY(100) NOT NULL",
        "ALTER TABLE key_value_storage MODIFY `key` VARCHAR(255) NOT NULL",
        "ALTER TABLE key_value_storage MODIFY value BLOB NOT NULL",
        "ALTER TABLE key_set_storage DROP PRIMARY KEY",
        "ALTER TABLE deferred_message_storage ENGINE = Aria",
        "DROP TABLE key_set_storage; CREATE VIEW key_set_storage AS SELECT 1 AS `key`, 2 AS member",
    ],
)
def test_a_table_that_was_changed_is_noticed(
    opened: Open, server: MysqlProcess, database: str, change: str
) -> None:
    """A shorter key would be cut or refused, a collation would fold cases, an engine forget."""
    opened(server, database=database)
    with server.client(database) as client, client.cursor() as cursor:
        for statement in change.split("; "):
            cursor.execute(statement)
    with pytest.raises(ConfigError, match="is not statekeep's"):
        opened(server, database=database)


def test_a_lost_index_and_a_lost_table_come_back(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """What is missing is named, and created by setup()."""
    storage = opened(server, database=database)
    storage.values.put("key", b"value")
    server.sql(f"ALTER TABLE `{database}`.key_value_storage DROP KEY expires")
    server.sql(f"ALTER TABLE `{database}`.deferred_message_storage DROP KEY visible")
    server.sql(f"DROP TABLE `{database}`.key_set_storage")
    missing = list(raw(storage).missing())
    assert missing == [
        "table key_set_storage", "index expires(expires)", "index visible(queue,visible,id)",
    ]  # fmt: skip
    raw(storage).setup()
    assert list(raw(storage).missing()) == []
    assert storage.values.get("key") is not None


def test_a_newer_layout_is_left_alone(opened: Open, server: MysqlProcess, database: str) -> None:
    """It says how to upgrade."""
    opened(server, database=database)
    server.sql(f"UPDATE `{database}`.key_value_storage_layout SET layout = 99")
    with pytest.raises(ConfigError, match="pip install --upgrade statekeep-mysql"):
        opened(server, database=database)


def test_tables_that_do_not_belong_together_are_refused(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """Values of one storage with the sets of another."""
    opened(server, database=database)
    with pytest.raises(ConfigError, match="belongs together"):
        opened(server, database=database, key_set_table="others")


def test_a_missing_database_is_named(opened: Open, server: MysqlProcess, database: str) -> None:
    """Nothing is created with create = false."""
    with pytest.raises(ConfigError, match=f"lacks database {database}.*create = false"):
        opened(server, database=database, create=False)
    assert server.sql(f"SHOW DATABASES LIKE '{database}'") == []


def test_servers_with_awkward_defaults_change_nothing(opened: Open) -> None:
    """sql_mode, isolation, time zone, row format, character set, autocommit, lower-case names."""
    awkward = {
        **FAST, "sql_mode": "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES",
        "transaction_isolation": "SERIALIZABLE", "default_time_zone": "+09:00",
        "innodb_default_row_format": "redundant", "character_set_server": "latin1",
        "autocommit": "0", "lower_case_table_names": "1", "default_storage_engine": "MyISAM",
        "wait_timeout": "2", "innodb_lock_wait_timeout": "1", "completion_type": "CHAIN",
        "max_statement_time": "0.01",
    }  # fmt: skip
    with MysqlProcess(awkward) as server:
        storage = opened(server, database="UpperCase", key_value_table="Values")
        exercise(storage)
        opened(server, database="UpperCase", key_value_table="Values")
        version = storage.values.put("Key", b"1")
        assert storage.values.get("key") is None and storage.values.get("Key ") is None
        time.sleep(2.5)  # longer than the server's wait_timeout
        assert storage.values.put("Key", b"2", expected=version) == version + 1
        assert abs(version / 1e6 - time.time()) < 60
