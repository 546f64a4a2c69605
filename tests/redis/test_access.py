"""Who may connect, how, and what is said to those who may not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import AccessDenied, Unavailable
from statekeep.errors import StorageError

from tests.aio.encrypted import encrypted_calls
from tests.redis.conftest import Open
from tests.servers.certificates import Certificates
from tests.servers.ports import free_ports
from tests.servers.redis import RedisProcess, eventually

ALLOWED = "~statekeep:* +@all -@dangerous -@admin +eval +evalsha"


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisProcess]:
    """A server with a password, an ACL user with one, and one without."""
    users = [f"app on >p@ss:w/ord {ALLOWED}", f"open on nopass {ALLOWED}"]
    with RedisProcess(
        {"requirepass": "s3cret", "user": users}, connect={"password": "s3cret"}
    ) as process:
        yield process


@pytest.mark.parametrize(
    "options",
    [
        {"password": "s3cret"},
        {"username": "default", "password": "s3cret"},
        {"username": "app", "password": "p@ss:w/ord"},
        {"username": "open"},
        {"username": "open", "password": "whatever"},
    ],
    ids=["password", "default", "user", "user_alone", "nopass_user"],
)
def test_credentials_that_are_right(guarded: RedisProcess, opened: Open, options: Any) -> None:
    """With and without a user name, with and without a password."""
    storage = opened(guarded, **options)
    storage.values.put("key", b"value")
    entry = storage.values.get("key")
    assert entry is not None and entry.value == b"value"


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "password"),
        ({"password": "wrong"}, "check username and password"),
        ({"username": "app", "password": "wrong"}, "check username and password"),
        ({"username": "nobody", "password": "s3cret"}, "check username and password"),
        ({"password_file": "/does/not/exist"}, "password_file"),
        ({"password_env": "STATEKEEP_NO_SUCH"}, "STATEKEEP_NO_SUCH"),
    ],
)
def test_credentials_that_are_wrong(
    guarded: RedisProcess, opened: Open, options: Any, advice: str
) -> None:
    """AccessDenied, which says what to check and not what was tried."""
    with pytest.raises(AccessDenied, match=advice) as caught:
        opened(guarded, **options)
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


def test_a_url_with_an_encoded_password(guarded: RedisProcess) -> None:
    """`%40` is an @."""
    url = f"redis://app:p%40ss%3Aw%2Ford@127.0.0.1:{guarded.port}/0"
    with statekeep.open(url) as storage:
        storage.ping()


def test_a_changed_password_is_read_again(opened: Open, tmp_path: Path) -> None:
    """New connections take the file's new content; those that were open go on."""
    secret = tmp_path / "password"
    secret.write_text("one\n")
    with RedisProcess({"user": f"app on >one {ALLOWED}"}) as server:
        storage = opened(server, username="app", password_file=str(secret))
        storage.values.put("key", b"1")
        server.command("ACL", "SETUSER", "app", "<one", ">two")
        storage.values.put("key", b"2")
        secret.write_text("two\n")
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        storage.values.put("key", b"3")
        entry = storage.values.get("key")
        assert entry is not None and entry.value == b"3"


def test_a_user_without_a_permission_is_told_at_once(opened: Open) -> None:
    """A script stopped in its middle would leave half of it: so it is asked before."""
    with RedisProcess({"user": "weak on nopass ~statekeep:* +@all -unlink -hset"}) as server:
        with pytest.raises(AccessDenied, match=r"\+unlink \+hset"):
            opened(server, username="weak")
        with pytest.raises(AccessDenied, match="ACL"):
            opened(server, username="weak", prefix="other:")
        assert server.command("DBSIZE") == 0


def test_a_unix_socket(server: RedisProcess, opened: Open, prefix: str) -> None:
    """The path of a socket instead of host and port."""
    storage = opened(unix_socket=str(server.socket), prefix=prefix)
    assert storage.values.put("key", b"")
    with pytest.raises(Unavailable, match="/no/such"):
        opened(unix_socket="/no/such.sock")


def test_databases_are_apart(server: RedisProcess, opened: Open, prefix: str) -> None:
    """`database` selects one; one that the server does not have is named."""
    opened(server, prefix=prefix, database=3).values.put("key", b"three")
    assert opened(server, prefix=prefix).values.get("key") is None
    assert opened(server, prefix=prefix, database=3).values.get("key") is not None
    with pytest.raises(StorageError, match="check database"):
        opened(server, database=99)


def test_a_wrong_port(opened: Open) -> None:
    """Nothing listens there."""
    port = free_ports()[0]
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}.*check host and port"):
        opened(host="127.0.0.1", port=port)


def test_a_wrong_host(opened: Open) -> None:
    """The name is not known."""
    with pytest.raises(Unavailable, match="check host"):
        opened(host="no-such-host.invalid")


@pytest.fixture(scope="module")
def tls(pem: Certificates) -> Iterator[RedisProcess]:
    """A server that wants TLS and a client certificate."""
    port = free_ports()[0]
    options: dict[str, Any] = {
        "bind": "127.0.0.1 127.0.0.2",
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(pem.cert),
        "tls-key-file": str(pem.key),
        "tls-ca-cert-file": str(pem.ca),
        "tls-auth-clients": "yes",
    }
    connect = {
        "ssl": True,
        "ssl_ca_certs": str(pem.ca),
        "ssl_certfile": str(pem.client_cert),
        "ssl_keyfile": str(pem.client_key),
    }
    with RedisProcess(options, port=port, connect=connect) as process:
        yield process


@pytest.fixture
def secured(pem: Certificates) -> dict[str, Any]:
    """The options that are right for `tls`."""
    return {
        "ssl": True,
        "ssl_ca_file": str(pem.ca),
        "ssl_cert_file": str(pem.client_cert),
        "ssl_key_file": str(pem.client_key),
    }


def test_tls(tls: RedisProcess, opened: Open, secured: dict[str, Any]) -> None:
    """With authority, client certificate and the name checked, over many connections."""
    storage = opened(tls, **secured)
    storage.values.put("key", b"x" * 1_000_000)
    entry = storage.values.get("key")
    assert entry is not None and len(entry.value) == 1_000_000
    assert storage.stats().pool.idle == 1


def test_a_rediss_url_is_with_tls(tls: RedisProcess, pem: Certificates) -> None:
    """It could not connect otherwise: the server has no other port."""
    query = f"ssl_ca_file={pem.ca}&ssl_cert_file={pem.client_cert}&ssl_key_file={pem.client_key}"
    with statekeep.open(f"rediss://127.0.0.1:{tls.port}?{query}") as storage:
        storage.ping()


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"ssl_ca_file": "other_ca"}, "check ssl_ca_file"),
        ({"ssl_ca_file": None}, "check ssl_ca_file"),
        ({"ssl_cert_file": None, "ssl_key_file": None}, "check"),
        ({"ssl": False}, "ssl = true"),
    ],
    ids=["other_authority", "systems_authorities", "no_client_certificate", "plain"],
)
def test_tls_that_does_not_match(
    tls: RedisProcess,
    opened: Open,
    secured: dict[str, Any],
    pem: Certificates,
    change: dict[str, Any],
    advice: str,
) -> None:
    """Each is Unavailable and says what to check."""
    if change.get("ssl_ca_file"):
        change = {"ssl_ca_file": str(pem.other_ca)}
    with pytest.raises(Unavailable, match=advice):
        opened(tls, **{**secured, **change})


def test_tls_checks_the_name(tls: RedisProcess, opened: Open, secured: dict[str, Any]) -> None:
    """127.0.0.2 is the same server, and not in the certificate."""
    options = {**secured, "host": "127.0.0.2", "port": tls.port}
    with pytest.raises(Unavailable, match="the name in the certificate"):
        opened(**options)
    opened(**options, ssl_check_hostname=False).ping()


def test_tls_against_a_plain_port(server: RedisProcess, opened: Open) -> None:
    """The port does not speak TLS, and the error says so."""
    with pytest.raises(Unavailable, match="TLS"):
        opened(server, ssl=True, timeout=1000)


def test_maxclients(opened: Open) -> None:
    """A server that takes no more connections is Unavailable; when one is free, it works."""
    with RedisProcess({"maxclients": "4"}) as server:
        held = [server.client(single_connection_client=True) for _ in range(4)]
        try:
            with pytest.raises(Unavailable, match="maxclients"):
                opened(server)
        finally:
            for client in held:
                client.close()

        def works() -> bool:
            with suppress(Unavailable):
                opened(server).values.put("key", b"")
                return True
            return False

        assert eventually(works, "room for a connection")


def test_a_read_only_replica(server: RedisProcess, opened: Open, prefix: str) -> None:
    """It opens and reads; a write is Unavailable, and says where writes go."""
    origin = opened(server, prefix=prefix)
    origin.values.put("key", b"value")
    origin.deferred.schedule("queue", "id", due=timedelta(0))
    with RedisProcess({"replicaof": f"127.0.0.1 {server.port}"}) as replica:
        eventually(lambda: replica.info()["master_link_status"] == "up", "replication")
        storage = opened(replica, prefix=prefix)
        assert eventually(lambda: storage.values.get("key"), "the value").value == b"value"
        with pytest.raises(Unavailable, match="read-only replica.*set host to the master"):
            storage.values.put("key", b"other")
        with pytest.raises(Unavailable, match="read-only replica"):
            storage.deferred.claim("queue")
        entry = storage.values.get("key")
        assert entry is not None and entry.value == b"value"


def test_tls_under_an_event_loop(tls: RedisProcess, secured: dict[str, Any]) -> None:
    """Many records, batches, conflicts: without a thread once a connection is open."""
    config = {"redis": {"host": "127.0.0.1", "port": tls.port, **secured}}
    asyncio.run(encrypted_calls(config))
