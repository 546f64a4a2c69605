"""docs/security.md on Redis: its users, its TLS, and a password that changes under load."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from statekeep import AccessDenied
from statekeep.errors import StorageError

from tests.operations.conftest import CLIENT, SERVER, Open, picked
from tests.operations.exercise import everything
from tests.operations.pages import commands, settings, toml
from tests.operations.rotation import Calls
from tests.servers.ports import free_ports
from tests.servers.redis import RedisProcess

ADMIN = {"username": "admin", "password": "admin-secret"}


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    """A server with an administrator of its own and the users of the page."""
    users = {"user": "admin on >admin-secret ~* +@all"}
    with RedisProcess(users, connect=ADMIN) as process:
        for name in ("redis-app", "redis-reader", "redis-default"):
            run(process, name)
        yield process


def run(server: RedisProcess, name: str) -> None:
    """Runs a block of the page as its administrator."""
    for line in commands("security", name):
        server.command(*shlex.split(line))


def test_the_application_can_do_everything_and_nothing_else(
    server: RedisProcess, opened: Open
) -> None:
    """Every call of statekeep; no key of others, and no command of an administrator."""
    app = {"username": "app", "password": "app-secret"}
    everything(opened({"redis": {"host": "127.0.0.1", "port": server.port, **app}}))
    with server.client(**app) as client:
        for words in (("GET", "other"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_the_reader_reads(server: RedisProcess, opened: Open) -> None:
    """With redis-cli's commands; a storage does not open."""
    app = {"username": "app", "password": "app-secret"}
    storage = opened({"redis": {"host": "127.0.0.1", "port": server.port, **app}})
    storage.values.put("key", b"value")
    reader = {"username": "reader", "password": "reader-secret"}
    with server.client(**reader) as client:
        assert client.zrangebylex("statekeep:i", "[v:", "(v;") == [b"v:key"]
        assert client.get("statekeep:v:key").endswith(b"value")
        for write in (("SET", "statekeep:v:key", "x"), ("UNLINK", "statekeep:v:key")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*write)
    with pytest.raises(AccessDenied, match="evalsha"):
        opened({"redis": {"host": "127.0.0.1", "port": server.port, **reader}})


def test_nobody_comes_in_without_a_name(server: RedisProcess, opened: Open) -> None:
    """The default user is off."""
    with pytest.raises(AccessDenied):
        opened({"redis": {"host": "127.0.0.1", "port": server.port}})


def test_tls_with_a_certificate_on_both_sides(
    opened: Open, pem: dict[str, str], secret: Path
) -> None:
    """The page's two files fit together; another authority, or no certificate, does not come in."""
    (port,) = free_ports()
    ready = {"tls-port 6379": f"tls-port {port}", **picked(pem, *SERVER)}
    options = settings("security", "redis-tls", ready)
    connect = {
        "ssl": True,
        "ssl_ca_certs": pem["/etc/state/ca.pem"],
        "ssl_certfile": pem["/etc/state/client.pem"],
        "ssl_keyfile": pem["/etc/state/client.key"],
    }
    with RedisProcess(options, port=port, connect=connect) as server:
        run(server, "redis-app")
        ours = {"db.internal": "127.0.0.1", "/run/secrets/redis": secret, **picked(pem, *CLIENT)}
        config = toml("security", "redis-tls-app", ours)["storage"]["redis"] | {"port": port}
        everything(opened({"redis": config}))
        for change in (
            {"ssl_ca_file": pem["other"]},
            {"ssl_cert_file": None, "ssl_key_file": None},
        ):
            with pytest.raises(StorageError, match="check ssl_ca_file, ssl_cert_file"):
                opened({"redis": config | change})


def test_a_password_changes_and_no_call_fails(
    server: RedisProcess, opened: Open, secret: Path
) -> None:
    """The page's three steps under load, the connections killed after each of them."""
    who = {"username": "app", "password_command": ["cat", str(secret)]}
    storage = opened({"redis": {"host": "127.0.0.1", "port": server.port, **who}})
    add, remove = commands("security", "redis-rotate")
    steps: tuple[Callable[[], object], ...] = (
        lambda: server.command(*shlex.split(add)),
        lambda: secret.write_text("new-secret\n"),
        lambda: server.command(*shlex.split(remove)),
    )
    with Calls(storage) as calls:
        for step in steps:
            calls.progress(50)
            step()
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        calls.progress(50)
    assert not calls.refused
    with pytest.raises(redis.AuthenticationError), server.client(**ADMIN | OLD) as client:
        client.ping()


OLD = {"username": "app", "password": "app-secret"}
