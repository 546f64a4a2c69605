"""Who may come in, by which way, and what is said to those who may not."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import AccessDenied, ConfigError, Unavailable
from statekeep.layers.base import innermost

from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.servers.certificates import Certificates
from tests.servers.mysql import PASSWORD, MysqlProcess
from tests.servers.ports import free_ports
from tests.servers.proxy import Proxy


def raw(storage: statekeep.Storage) -> Any:
    """The backend below all layers."""
    return innermost(storage.backend)


def ask(storage: statekeep.Storage, statement: str) -> Any:
    """The first row of a statement, over a connection of the storage's pool."""
    return raw(storage)._database.query(statement)[0]


def test_a_password_that_is_not_ascii_works_over_tcp(opened: Open, server: MysqlProcess) -> None:
    """PyMySQL would send it in Latin-1."""
    assert "é" in PASSWORD
    opened(server).ping()


def test_a_unix_socket_is_a_host_that_is_a_path(opened: Open, server: MysqlProcess) -> None:
    """Without TLS, as nobody can listen."""
    storage = opened(host=str(server.socket), username="root", password=None)
    assert ask(storage, "SELECT CURRENT_USER()")[0].startswith("root@")


def test_urls_lead_to_a_server(server: MysqlProcess) -> None:
    """With a password in percent signs, and options behind."""
    url = f"mysql://app:open%20s%C3%A9same@127.0.0.1:{server.port}/urls?minimum_idle=0"
    with statekeep.open(url) as storage:
        storage.values.put("key", b"value")
        assert ask(storage, "SELECT DATABASE()") == ("urls",)
    with statekeep.open(url.replace("mysql://", "mariadb://")) as storage:
        assert storage.values.get("key") is not None


@pytest.mark.parametrize(
    "changed", [{"password": "wrong"}, {"username": "nobody"}, {"password": None}]
)
def test_wrong_credentials_are_access_denied(
    opened: Open, server: MysqlProcess, changed: dict[str, Any]
) -> None:
    """With the user and what to check, and no password anywhere."""
    with pytest.raises(AccessDenied, match="username and password") as caught:
        opened(server, **changed)
    told = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in told and "'wrong'" not in told.replace('"password": "wrong"', "")


def test_a_password_file_is_read_for_every_new_connection(
    opened: Open, server: MysqlProcess, tmp_path: Path
) -> None:
    """A password that was changed needs no restart."""
    file = tmp_path / "password"
    file.write_text("first\n")
    server.sql("CREATE OR REPLACE USER 'rotating'@'%' IDENTIFIED BY 'first'")
    server.sql("GRANT ALL ON *.* TO 'rotating'@'%'")
    more = {"username": "rotating", "password": None, "password_file": str(file)}
    storage = opened(server, **more)
    server.sql("ALTER USER 'rotating'@'%' IDENTIFIED BY 'second'")
    storage.ping()  # the open connection goes on
    file.write_text("second")
    raw(storage)._database.pool.drop_idle()
    storage.ping()
    file.unlink()
    raw(storage)._database.pool.drop_idle()
    with pytest.raises(ConfigError, match="password_file"):
        storage.ping()


def test_a_user_with_the_least_rights_does_everything(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """As docs/mysql.md grants them; the user that may not create is told what to grant."""
    may = f"ON `{database}`.* TO 'least'@'%'"
    server.sql("CREATE OR REPLACE USER 'least'@'%' IDENTIFIED BY 'x'")
    least = {"username": "least", "password": "x", "database": database}
    with pytest.raises(AccessDenied, match="grant the user|Grant the user"):
        opened(server, **least)
    server.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE {may}")
    with pytest.raises((AccessDenied, ConfigError), match=r"CREATE|missing|grant"):
        opened(server, **least)
    server.sql(f"CREATE DATABASE `{database}`")
    with pytest.raises(AccessDenied, match=r"To be created: table .*GRANT CREATE"):
        opened(server, **least)
    with pytest.raises(ConfigError, match="lacks table"):
        opened(server, **least, create=False)
    opened(server, database=database)
    exercise(opened(server, **least, create=False))


def test_a_user_who_may_create_creates_the_database(
    opened: Open, server: MysqlProcess, database: str
) -> None:
    """With rights on that database alone."""
    server.sql("CREATE OR REPLACE USER 'maker'@'%' IDENTIFIED BY 'x'")
    server.sql(
        "GRANT CREATE, INDEX, ALTER, SELECT, INSERT, UPDATE, DELETE "
        f"ON `{database}`.* TO 'maker'@'%'"
    )
    exercise(opened(server, username="maker", password="x", database=database))


def exercise(storage: statekeep.Storage) -> None:
    """Every call once."""
    from datetime import timedelta

    with storage.transaction() as tx:
        tx.put("a", b"1", expected=0)
        tx.put("b", b"1", ttl=timedelta(microseconds=1))
        tx.add("set", b"x", b"y")
        tx.schedule("queue", "id", due=timedelta(seconds=-1))
    (message,) = storage.deferred.claim("queue")
    with storage.transaction() as tx:
        tx.delete("a")
        tx.remove("set", b"x")
        tx.acknowledge(message)
    assert storage.values.get_many(["a", "b"]) == {}
    assert storage.sets.members("set") == {b"y"}
    assert list(storage.values.scan()) == [] and list(storage.sets.scan()) == ["set"]
    assert storage.purge() == 1
    storage.stats()
    storage.ping()


def test_tls_is_used_where_the_server_can(opened: Open, secure: MysqlProcess) -> None:
    """preferred, the default; the password does not travel in the open."""
    assert ask(opened(secure), "SHOW STATUS LIKE 'Ssl_cipher'")[1]


def test_tls_that_was_turned_off_is_refused_by_the_server(
    opened: Open, secure: MysqlProcess
) -> None:
    """It says that it requires it, and we what to set."""
    with pytest.raises(AccessDenied, match="requires TLS"):
        opened(secure, ssl_mode="disabled")


@pytest.mark.parametrize("mode", ["required", "verify_ca", "verify_identity"])
def test_tls_that_is_required_and_not_offered_sends_nothing(
    opened: Open, server: MysqlProcess, mode: str
) -> None:
    """Unavailable, and not an unencrypted connection."""
    with pytest.raises(Unavailable, match="offers no TLS"):
        opened(server, ssl_mode=mode)


def test_tls_verifies_what_was_asked_for(
    opened: Open, secure: MysqlProcess, pem: Certificates
) -> None:
    """The authority with verify_ca; also the name with verify_identity."""
    for mode in ("verify_ca", "verify_identity"):
        opened(secure, ssl_mode=mode, ssl_ca=str(pem.ca)).ping()
        with pytest.raises(AccessDenied, match="certificate was refused"):
            opened(secure, ssl_mode=mode, ssl_ca=str(pem.other_ca))
        with pytest.raises(AccessDenied, match="certificate was refused"):
            opened(secure, ssl_mode=mode)
    opened(secure, ssl_mode="required").ping()
    opened(secure, ssl_mode="verify_ca", ssl_ca=str(pem.ca), host="127.0.0.2").ping()
    with pytest.raises(AccessDenied, match="certificate was refused"):
        opened(secure, ssl_mode="verify_identity", ssl_ca=str(pem.ca), host="127.0.0.2")


def test_a_client_certificate_is_shown(
    opened: Open, secure: MysqlProcess, pem: Certificates
) -> None:
    """To a server that wants one of that user."""
    secure.sql("CREATE OR REPLACE USER 'certified'@'%' IDENTIFIED BY 'x' REQUIRE X509")
    secure.sql("GRANT ALL ON *.* TO 'certified'@'%'")
    who = {"username": "certified", "password": "x", "ssl_mode": "required"}
    with pytest.raises(AccessDenied):
        opened(secure, **who)
    shown = {"ssl_cert": str(pem.client_cert), "ssl_key": str(pem.client_key)}
    opened(secure, **who, **shown).ping()
    with pytest.raises(ConfigError, match="cannot be read"):
        opened(secure, **who, ssl_cert="/nowhere.pem")


def test_a_read_only_node_is_passed_over(opened: Open) -> None:
    """Also when it is the first, and again when the roles change."""
    with MysqlProcess() as one, MysqlProcess() as two:
        hosts = f"127.0.0.1:{one.port},127.0.0.1:{two.port}"
        one.sql("SET GLOBAL read_only = ON")
        storage = opened(host=hosts)
        storage.values.put("key", b"two")
        assert two.sql("SELECT COUNT(*) FROM infinitic.key_value_storage") == [(1,)]
        assert one.sql("SHOW DATABASES LIKE 'infinitic'") == []
        with pytest.raises(Unavailable, match="read-only"):
            opened(one)
        one.sql("SET GLOBAL read_only = OFF")
        opened(one).values.put("key", b"one")
        two.sql("SET GLOBAL read_only = ON")
        opened(two, target_server_type="any").ping()
        raw(storage)._database.pool.drop_idle()
        entry = storage.values.get("key")
        assert entry is not None and entry.value == b"one"


def test_a_node_that_becomes_read_only_is_left(opened: Open) -> None:
    """A refused write says so, and the next connection looks for another node."""
    with MysqlProcess() as one, MysqlProcess() as two:
        for node in (one, two):
            node.sql("CREATE USER 'plain'@'%' IDENTIFIED BY 'x'")
            node.sql("GRANT ALL ON infinitic.* TO 'plain'@'%'")
        who = {"username": "plain", "password": "x"}
        opened(two, **who)
        storage = opened(host=f"127.0.0.1:{one.port},127.0.0.1:{two.port}", **who)
        storage.values.put("key", b"one")
        one.sql("SET GLOBAL read_only = ON")
        with pytest.raises(Unavailable, match=r"1290.*nothing was applied"):
            storage.values.put("key", b"two")
        storage.values.put("key", b"two")
        assert two.sql("SELECT COUNT(*) FROM infinitic.key_value_storage") == [(1,)]


def test_dead_hosts_are_passed_over(opened: Open, server: MysqlProcess) -> None:
    """One where nothing listens, and one that never answers; each is named where none will do."""
    nothing = free_ports()[0]
    with Proxy(server.address) as silent:
        silent.blackhole = True
        dead = f"127.0.0.1:{nothing},127.0.0.1:{silent.port}"
        opened(host=f"{dead},127.0.0.1:{server.port}", connect_timeout=300).ping()
        with pytest.raises(Unavailable) as caught:
            opened(host=dead, connect_timeout=300, connection_timeout=2000)
        assert f":{nothing}" in str(caught.value) and f":{silent.port}" in str(caught.value)


def test_what_is_no_mysql_server_is_unavailable(opened: Open) -> None:
    """A port that speaks something else."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"220 mail.example.com ESMTP\r\n" * 20)
                peer.recv(100)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(Unavailable, match="cannot connect"):
            opened(**{**APP, "host": "127.0.0.1", "port": listener.getsockname()[1],
                      "connect_timeout": 1000, "connection_timeout": 1000})  # fmt: skip
        thread.join(5)
