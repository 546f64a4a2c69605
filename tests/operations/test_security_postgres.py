"""docs/security.md on PostgreSQL: its roles, its TLS, and a password that changes under load."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from statekeep import AccessDenied, ConfigError

from tests.operations.conftest import SERVER, Open, picked
from tests.operations.exercise import everything, read_everything, refused_writes
from tests.operations.pages import block, settings, statements, toml
from tests.operations.rotation import rotate
from tests.servers.postgres import FAST, PostgresProcess, eventually, own

ACCESS = ("host all all 127.0.0.1/32 scram-sha-256",)
OWNER = {"database": "state", "username": "state_owner", "password": "owner-secret"}
READER = {"username": "reader", "password": "reader-secret", "password_file": None}
pytestmark = pytest.mark.xdist_group("security-postgres")


def prepare(server: PostgresProcess, opened: Open) -> None:
    """The page's steps: roles, tables, rights."""
    for statement in statements("security", "postgres-roles"):
        server.sql(statement)
    opened({"postgres": {"host": "127.0.0.1", "port": server.port, "minimum_idle": 0, **OWNER}})
    with server.client("state") as client:
        client.run("SET ROLE state_owner")
        for statement in statements("security", "postgres-grants"):
            client.run(statement)


@pytest.fixture(scope="module")
def shared() -> Iterator[PostgresProcess]:
    """One server for the module; its users are made by the first test that needs them."""
    with PostgresProcess(FAST, access=ACCESS) as server:
        yield server


@pytest.fixture
def server(shared: PostgresProcess, opened: Open) -> PostgresProcess:
    """The server with the page's users and tables."""
    if not shared.sql("SELECT 1 FROM pg_roles WHERE rolname = 'app'"):
        prepare(shared, opened)
    return shared


def app(server: PostgresProcess, secret: Path, name: str = "postgres-app") -> dict[str, Any]:
    """The application's config, as the page has it."""
    ours = {"db.internal": "127.0.0.1", "/run/secrets/postgres": secret}
    found: dict[str, Any] = toml("security", name, ours)["storage"]["postgres"]
    return found | {"port": server.port, "minimum_idle": 0}


def test_the_application_can_do_everything_and_nothing_else(
    server: PostgresProcess, opened: Open, secret: Path
) -> None:
    """Every call of statekeep; no table can be altered, and no other database be entered."""
    everything(opened({"postgres": app(server, secret)}))
    with server.client("state") as client:
        client.run("SET ROLE app")
        for statement in (
            "DROP TABLE infinitic.key_value_storage",
            "ALTER TABLE infinitic.key_value_storage ADD COLUMN more int",
            "TRUNCATE infinitic.key_value_storage",
            "CREATE TABLE infinitic.mine (id int)",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(Exception, match="permission denied|must be owner"):
                client.run(statement)


def test_the_reader_reads_and_writes_nothing(
    server: PostgresProcess, opened: Open, secret: Path
) -> None:
    """Every call that reads works; each that writes is AccessDenied."""
    writer = opened({"postgres": app(server, secret)})
    writer.values.put("state", b"1")
    writer.sets.add("set", b"b")
    storage = opened({"postgres": app(server, secret) | READER})
    read_everything(storage)
    refused_writes(storage)
    writer.values.delete("state")
    writer.sets.remove("set", b"b")


def test_nobody_else_comes_into_the_database(server: PostgresProcess, opened: Open) -> None:
    """CONNECT was revoked from PUBLIC."""
    server.sql("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    who = {"username": "stranger", "password": "stranger", "database": "state", "create": False}
    with pytest.raises((AccessDenied, ConfigError), match="permission denied for database"):
        opened({"postgres": {"host": "127.0.0.1", "port": server.port, **who}})


def test_tls_with_a_certificate_on_both_sides(
    server: PostgresProcess, opened: Open, pem: dict[str, str], secret: Path
) -> None:
    """The page's three files fit together; another authority or no certificate stays outside."""
    key = server.folder / "server.key"
    shutil.copy(pem["/etc/state/server.key"], key)
    key.chmod(0o600)
    own(key)
    files = {**picked(pem, *SERVER), "/etc/state/server.key": key}
    server.configure(settings("security", "postgres-tls", files))
    rules = server.data / "pg_hba.conf"
    before = rules.read_text()
    rule = block("security", "postgres-hba", {"10.1.0.0/16": "127.0.0.1/32"})
    rules.write_text(f"local all all trust\n{rule}")
    server.reload()
    config = app(server, secret, "postgres-tls-app")
    config |= {name: pem[value] for name, value in config.items() if value in pem}
    try:
        eventually(lambda: server.sql("SHOW ssl") == [["on"]], "TLS")
        everything(opened({"postgres": config}))
        for change, says in (
            ({"sslrootcert": pem["other"]}, "certificate was refused"),
            ({"sslcert": None, "sslkey": None}, "certificate|pg_hba"),
            ({"sslmode": "disable"}, "pg_hba"),
        ):
            with pytest.raises(AccessDenied, match=says):
                opened({"postgres": config | change})
    finally:
        rules.write_text(before)
        server.reload()


def test_a_password_changes_under_load(server: PostgresProcess, opened: Open, secret: Path) -> None:
    """Role, then what the command prints: calls go on, also once all connections were ended."""
    command = {"vault": "cat", '"kv", "get", "-field=password", "secret/state"': f'"{secret}"'}
    ours = {"db.internal": "127.0.0.1", **command}
    config = toml("security", "password-command", ours)["storage"]["postgres"]
    config |= {"port": server.port, "minimum_idle": 0, "create": False}
    storage = opened({"postgres": config})
    (change,) = statements("security", "postgres-rotate")
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'"
    rotate(storage, partial(server.sql, change), secret, partial(server.sql, end))
    with pytest.raises(AccessDenied, match="Check username and password"):
        opened({"postgres": config | {"password_command": ["echo", "app-secret"]}})
    server.sql("ALTER ROLE app PASSWORD 'app-secret'")
