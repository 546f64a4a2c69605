"""Who may connect, how, and what is said to those who may not."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import AccessDenied, Unavailable
from statekeep.errors import ConfigError, StorageError

from tests.postgres.conftest import Open
from tests.servers.ports import free_ports
from tests.servers.postgres import FAST, PASSWORD, PostgresProcess

ACCESS = ("host all all 127.0.0.1/32 scram-sha-256",)
ODD = "p@ss:w/örd %41"
"""A password that a URL has to encode."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[PostgresProcess]:
    """A server that asks for passwords, with users who may more or less."""
    with PostgresProcess(FAST, access=ACCESS) as server:
        server.sql(f"CREATE ROLE app LOGIN CREATEDB PASSWORD '{ODD}'")
        server.sql(f"CREATE ROLE weak LOGIN PASSWORD '{ODD}'")
        server.sql(f"CREATE ROLE old LOGIN PASSWORD '{ODD}' VALID UNTIL '2020-01-01'")
        server.sql("CREATE DATABASE apps OWNER app")
        yield server


def without_secrets(error: BaseException) -> str:
    """The whole traceback, in which no password is."""
    text = "".join(traceback.format_exception(error))
    for secret in (PASSWORD, ODD, "p%40ss", "a guess"):
        assert secret not in text
    return text


@pytest.mark.parametrize(
    "options",
    [
        {"password": PASSWORD},
        {"username": "app", "password": ODD, "database": "apps"},
        {"username": "app", "password": ODD, "database": "of its own"},
    ],
    ids=["administrator", "owner", "may_create_databases"],
)
def test_credentials_that_are_right(
    guarded: PostgresProcess, opened: Open, options: dict[str, Any]
) -> None:
    """Whoever may create a database gets one."""
    storage = opened(guarded, **options)
    storage.values.put("key", b"value")
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"value"
    assert PASSWORD not in repr(storage) and ODD not in repr(storage)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"password": "a guess"},
        {"username": "app", "password": "a guess", "database": "apps"},
        {"username": "nobody", "password": "a guess"},
        {"username": "old", "password": ODD},
    ],
    ids=["none", "wrong", "wrong_of_user", "unknown_user", "expired"],
)
def test_credentials_that_are_wrong(
    guarded: PostgresProcess, opened: Open, options: dict[str, Any]
) -> None:
    """AccessDenied, which names the user and what to check, and not what was tried."""
    with pytest.raises(AccessDenied, match="(?s)Check username and password.*pg_hba") as caught:
        opened(guarded, **options)
    assert repr(options.get("username", "postgres")) in str(caught.value)
    without_secrets(caught.value)


def test_a_host_that_may_not_come_in(opened: Open) -> None:
    """No line of pg_hba.conf lets us in."""
    with (
        PostgresProcess(FAST, access=("host all app 127.0.0.1/32 trust",)) as server,
        pytest.raises(AccessDenied, match=r"pg_hba\.conf"),
    ):
        opened(server)


def test_a_user_who_may_not_create_a_database(guarded: PostgresProcess, opened: Open) -> None:
    """The message says which permission is missing, and the database."""
    with pytest.raises(AccessDenied, match=r"(?s)'missing'.*CREATEDB") as caught:
        opened(guarded, username="weak", password=ODD, database="missing")
    without_secrets(caught.value)
    assert guarded.sql("SELECT 1 FROM pg_database WHERE datname = 'missing'") == []


def test_a_user_who_may_not_create_a_schema(
    guarded: PostgresProcess, opened: Open, schema: str
) -> None:
    """GRANT CREATE ON DATABASE is named, and what would have been created."""
    with pytest.raises(AccessDenied, match="GRANT CREATE ON DATABASE") as caught:
        opened(guarded, username="weak", password=ODD, database="apps")
    assert schema in str(caught.value) and "table key_value_storage" in str(caught.value)


def test_a_user_who_may_not_create_tables(
    guarded: PostgresProcess, opened: Open, schema: str
) -> None:
    """The schema is there, without the right to create in it."""
    guarded.sql(f"CREATE SCHEMA {schema}", "apps")
    guarded.sql(f"GRANT USAGE ON SCHEMA {schema} TO weak", "apps")
    with pytest.raises(AccessDenied, match=f'USAGE, CREATE ON SCHEMA "{schema}"'):
        opened(guarded, username="weak", password=ODD, database="apps")


LEAST = (
    "GRANT USAGE ON SCHEMA {schema} TO weak",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO weak",
)
"""What a user needs once an administrator ran `setup()`."""


def test_a_user_with_the_least_that_works(
    guarded: PostgresProcess, opened: Open, schema: str
) -> None:
    """Tables made by the administrator: without a right a clear error, with four all works."""
    opened(guarded, password=PASSWORD, database="apps").values.put("key", b"value")
    guarded.sql(LEAST[0].format(schema=schema), "apps")
    options = {"username": "weak", "password": ODD, "database": "apps", "create": False}
    with pytest.raises(AccessDenied, match="(?s)permission denied.*Grant the user"):
        opened(guarded, **options).values.get("key")
    guarded.sql(LEAST[1].format(schema=schema), "apps")
    storage = opened(guarded, **options)
    with storage.transaction() as tx:
        tx.delete("key")
        tx.add("set", b"member")
        tx.remove("set", b"other")
    assert storage.values.put("key", b"again", expected=0) > 0
    storage.stats()
    storage.purge()


def test_an_unknown_database(guarded: PostgresProcess, opened: Open) -> None:
    """With `create` off nothing is created: the message names the database."""
    with pytest.raises(ConfigError, match="database missing"):
        opened(guarded, password=PASSWORD, database="missing", create=False)
    assert guarded.sql("SELECT 1 FROM pg_database WHERE datname = 'missing'") == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_url_with_an_encoded_password(guarded: PostgresProcess, scheme: str, schema: str) -> None:
    """`%40` is an @, and a % of the password is %25."""
    password = "p%40ss%3Aw%2F%C3%B6rd%20%2541"
    url = f"{scheme}://app:{password}@127.0.0.1:{guarded.port}/apps?schema={schema}&minimum_idle=0"
    with statekeep.open(url) as storage:
        storage.ping()
    with pytest.raises(AccessDenied) as caught:
        statekeep.open(url.replace("%20", "x"))
    without_secrets(caught.value)


def test_a_password_file_that_is_rotated(opened: Open, schema: str, tmp_path: Path) -> None:
    """New connections take the file's new content; those that are open go on."""
    secret = tmp_path / "password"
    secret.write_text("one\n")
    with PostgresProcess(FAST, access=ACCESS) as server:
        server.sql("CREATE ROLE app LOGIN CREATEDB PASSWORD 'one'")
        storage = opened(server, username="app", password_file=str(secret), database="apps")
        version = storage.values.put("key", b"1")
        server.sql("ALTER ROLE app PASSWORD 'two'")
        version = storage.values.put("key", b"2", expected=version)
        terminate(server)
        with pytest.raises(AccessDenied, match="Check username and password"):
            storage.values.put("key", b"never", expected=version)
        secret.write_text("two\n")
        assert storage.values.put("key", b"3", expected=version) == version + 1
        secret.unlink()
        terminate(server)
        with pytest.raises(ConfigError, match=r"password_file.*cannot be read"):
            storage.values.get("key")


def terminate(server: PostgresProcess) -> None:
    server.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'")


def test_a_unix_socket(server: PostgresProcess, opened: Open, schema: str) -> None:
    """A folder in place of a host; and where it has no socket, its whole path is named."""
    storage = opened(host=str(server.folder), port=server.port)
    assert storage.values.put("key", b"")
    url = f"postgres://postgres@{str(server.folder).replace('/', '%2F')}:{server.port}/postgres"
    with statekeep.open(f"{url}?schema={schema}&minimum_idle=0") as storage:
        assert storage.values.get("key") is not None
    with pytest.raises(Unavailable, match=r"/no/such/\.s\.PGSQL\.5432.*cannot connect"):
        opened(host="/no/such", port=5432)


def test_a_wrong_address(opened: Open) -> None:
    """Nothing listens there; or there is no such name."""
    port = free_ports()[0]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}.*Check host"):
        opened(host="127.0.0.1", port=port)
    with pytest.raises(Unavailable, match=r"no-such\.invalid.*Check host"):
        opened(host="no-such.invalid")


def test_application_name(server: PostgresProcess, opened: Open) -> None:
    """As the administrator sees us."""
    storage = opened(server, application_name="orders")
    storage.ping()
    names = {name for (name,) in server.sql("SELECT application_name FROM pg_stat_activity")}
    assert "orders" in names


def test_errors_are_ours(guarded: PostgresProcess, opened: Open) -> None:
    """The driver's exception is the cause, and never what is raised."""
    with pytest.raises(StorageError) as caught:
        opened(guarded, password="a guess")
    assert caught.value.__cause__ is not None
