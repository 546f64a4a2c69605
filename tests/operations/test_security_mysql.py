"""docs/security.md on MariaDB: its users, its TLS, and a password that changes under load."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pymysql
import pytest
from statekeep import AccessDenied

from tests.operations.conftest import CLIENT, SERVER, Open, picked
from tests.operations.exercise import everything, read_everything, refused_writes
from tests.operations.pages import settings, statements, toml
from tests.operations.rotation import rotate
from tests.servers.mysql import FAST, MysqlProcess

OWNER = {"username": "state_owner", "password": "owner-secret", "minimum_idle": 0}
READER = {"username": "reader", "password": "reader-secret", "password_file": None}
pytestmark = pytest.mark.xdist_group("security-mysql")


@pytest.fixture(scope="module")
def shared(pem: dict[str, str]) -> Iterator[MysqlProcess]:
    """One server for the module, with the page's TLS: it lets nobody in without."""
    tls = settings("security", "mysql-tls", picked(pem, *SERVER))
    with MysqlProcess({**FAST, **tls}) as server:
        server.sql("DROP USER 'app'@'%'")  # the one with all rights, which other tests use
        server.run_all("".join(f"{each};\n" for each in statements("security", "mysql-users")))
        yield server


@pytest.fixture
def server(shared: MysqlProcess, opened: Open) -> MysqlProcess:
    """The server with the page's users and tables."""
    opened({"mysql": {"host": "127.0.0.1", "port": shared.port, **OWNER}})
    return shared


def app(server: MysqlProcess, secret: Path, ours: dict[str, Any], name: str) -> dict[str, Any]:
    """The application's config, as the page has it."""
    here = {"db.internal": "127.0.0.1", "/run/secrets/mysql": secret, **ours}
    found: dict[str, Any] = toml("security", name, here)["storage"]["mysql"]
    return found | {"port": server.port, "minimum_idle": 0}


def test_the_application_can_do_everything_and_nothing_else(
    server: MysqlProcess, opened: Open, secret: Path
) -> None:
    """Every call of statekeep; no table can be altered, and no other database be made."""
    everything(opened({"mysql": app(server, secret, {}, "mysql-app")}))
    with pymysql.connect(
        unix_socket=str(server.socket), user="app", password="app-secret"
    ) as client, client.cursor() as cursor:  # fmt: skip
        for statement in (
            "DROP TABLE infinitic.key_value_storage",
            "ALTER TABLE infinitic.key_value_storage ADD COLUMN more INT",
            "TRUNCATE infinitic.key_value_storage",
            "CREATE TABLE infinitic.mine (id INT)",
            "CREATE DATABASE mine",
        ):
            with pytest.raises(pymysql.Error, match="denied"):
                cursor.execute(statement)


def test_the_reader_reads_and_writes_nothing(
    server: MysqlProcess, opened: Open, secret: Path
) -> None:
    """Every call that reads works; each that writes is AccessDenied."""
    writer = opened({"mysql": app(server, secret, {}, "mysql-app")})
    writer.values.put("state", b"1")
    writer.sets.add("set", b"b")
    storage = opened({"mysql": app(server, secret, {}, "mysql-app") | READER})
    read_everything(storage)
    refused_writes(storage)
    writer.values.delete("state")
    writer.sets.remove("set", b"b")


def test_tls_with_a_certificate_on_both_sides(
    server: MysqlProcess, opened: Open, pem: dict[str, str], secret: Path
) -> None:
    """The page's files fit together; another authority or no certificate stays outside."""
    config = app(server, secret, picked(pem, *CLIENT), "mysql-tls-app")
    (demand,) = statements("security", "mysql-x509")
    server.sql(demand)
    try:
        everything(opened({"mysql": config}))
        for change in (
            {"ssl_ca": pem["other"]},
            {"ssl_cert": None, "ssl_key": None},
            {"ssl_mode": "disabled", "ssl_ca": None, "ssl_cert": None, "ssl_key": None},
        ):
            with pytest.raises(AccessDenied):
                opened({"mysql": config | change})
    finally:
        server.sql("ALTER USER 'app'@'%' REQUIRE NONE")


def test_a_password_changes_under_load(server: MysqlProcess, opened: Open, secret: Path) -> None:
    """User, then what the command prints: calls go on, also once all connections were ended."""
    command = {"password_file": None, "password_command": ["cat", str(secret)]}
    config = app(server, secret, {}, "mysql-app") | command
    storage = opened({"mysql": config})
    (change,) = statements("security", "mysql-rotate")
    rotate(storage, partial(server.sql, change), secret, partial(server.sql, "KILL USER app"))
    with pytest.raises(AccessDenied, match="username and password"):
        opened({"mysql": config | {"password_command": ["echo", "app-secret"]}})
    server.sql("ALTER USER 'app'@'%' IDENTIFIED BY 'app-secret'")
