"""TLS: the modes of libpq, certificates of server and client, and what is said when they fail."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import AccessDenied, Storage, Unavailable
from statekeep.errors import ConfigError

from tests.aio.encrypted import encrypted_calls
from tests.postgres.conftest import Open
from tests.servers.certificates import Certificates
from tests.servers.postgres import FAST, PostgresProcess, own


@pytest.fixture(scope="module")
def tls(pem: Certificates) -> Iterator[PostgresProcess]:
    """TLS for all but the user `plain`; the user `cert` needs a client certificate."""
    access = (
        "hostnossl all plain 127.0.0.1/32 trust",
        "hostssl all cert 127.0.0.1/32 trust clientcert=verify-ca",
        "hostssl all postgres 127.0.0.1/32 trust",
    )
    with PostgresProcess(FAST, access=access) as server:
        for source, name in ((pem.ca, "ca"), (pem.cert, "cert"), (pem.key, "key")):
            target = server.data / f"{name}.pem"
            shutil.copy(source, target)
            target.chmod(0o600)
            own(target)
        server.configure({
            "ssl": "on", "ssl_ca_file": "'ca.pem'", "ssl_cert_file": "'cert.pem'",
            "ssl_key_file": "'key.pem'", "listen_addresses": "'127.0.0.1'",
        })  # fmt: skip
        server.stop()
        server.start()
        server.sql("CREATE ROLE cert LOGIN SUPERUSER")
        server.sql("CREATE ROLE plain LOGIN SUPERUSER")
        yield server


def encrypted(server: PostgresProcess, storage: Storage) -> bool:
    """Whether the storage's connections are, as the server sees it."""
    storage.ping()
    rows = server.sql(
        "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) "
        "WHERE a.application_name = 'statekeep' AND a.client_addr IS NOT NULL"
    )
    return bool(rows[0][0])


def paths(pem: Certificates, options: dict[str, Any]) -> dict[str, Any]:
    """The options, with names of certificates replaced by their paths."""
    named = {"sslrootcert", "sslcert", "sslkey"}
    return {
        name: str(getattr(pem, value)) if name in named and hasattr(pem, value) else value
        for name, value in options.items()
    }


@pytest.mark.parametrize(
    "options",
    [
        {"sslmode": "prefer"},
        {"sslmode": "require"},
        {"sslmode": "require", "sslrootcert": "ca"},
        {"sslmode": "verify-ca", "sslrootcert": "ca"},
        {"sslmode": "verify-full", "sslrootcert": "ca"},
        {"sslmode": "verify-full", "sslrootcert": "ca", "username": "cert",
         "sslcert": "client_cert", "sslkey": "client_key"},
    ],
    ids=lambda options: " ".join(options.values()),
)  # fmt: skip
def test_tls_that_matches(
    tls: PostgresProcess, opened: Open, pem: Certificates, options: dict[str, Any]
) -> None:
    """Encrypted, also for values that need many records."""
    storage = opened(tls, **paths(pem, options))
    assert encrypted(tls, storage)
    storage.values.put("key", b"x" * 1_000_000)
    entry = storage.values.get("key")
    assert entry is not None and len(entry.value) == 1_000_000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sslmode": "require", "sslrootcert": "other_ca"}, "certificate was refused"),
        ({"sslmode": "verify-ca", "sslrootcert": "other_ca"}, "certificate was refused"),
        ({"sslmode": "verify-ca"}, "check sslrootcert"),
        ({"sslmode": "disable"}, "pg_hba"),
        ({"sslmode": "verify-ca", "sslrootcert": "ca", "username": "cert"}, "certificate"),
        ({"sslmode": "require", "username": "plain"}, "pg_hba"),
    ],
    ids=["require_other", "other_ca", "systems_cas", "disable", "no_client_cert", "plain_only"],
)
def test_tls_that_does_not_match(
    tls: PostgresProcess, opened: Open, pem: Certificates, options: dict[str, Any], says: str
) -> None:
    """AccessDenied, with what to check."""
    with pytest.raises(AccessDenied, match=says) as caught:
        opened(tls, **paths(pem, options))
    assert "sslmode" in str(caught.value) or "pg_hba" in str(caught.value)


def test_the_name_in_the_certificate(opened: Open, pem: Certificates, tls: PostgresProcess) -> None:
    """verify-full checks it: 127.0.0.2 is the same server, and not in the certificate."""
    options = {"host": "127.0.0.2", "port": tls.port, "sslrootcert": str(pem.ca)}
    tls.configure({"listen_addresses": "'127.0.0.1,127.0.0.2'"})
    tls.stop()
    tls.start()
    with pytest.raises(AccessDenied, match=r"127\.0\.0\.2.*host name.*verify-full"):
        opened(**options, sslmode="verify-full")
    opened(**options, sslmode="verify-ca").ping()


def test_a_server_without_tls(server: PostgresProcess, opened: Open) -> None:
    """`require` refuses to go on in plain text, `prefer` and `disable` go on."""
    with pytest.raises(Unavailable, match="offers no TLS, and sslmode is require"):
        opened(server, sslmode="require")
    for mode in ("prefer", "disable"):
        assert not encrypted(server, opened(server, sslmode=mode))


def test_a_user_who_must_come_without_tls(tls: PostgresProcess, opened: Open) -> None:
    """As with libpq: `disable` works, and `prefer` tries without after a refusal with."""
    for mode in ("disable", "prefer"):
        opened(tls, sslmode=mode, username="plain").ping()


def test_certificates_that_cannot_be_read(
    tls: PostgresProcess, opened: Open, tmp_path: Path
) -> None:
    """ConfigError before anything is sent."""
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(ConfigError, match="check sslrootcert"):
            opened(tls, sslmode="verify-ca", sslrootcert=str(tmp_path / name))


def test_tls_in_a_url(tls: PostgresProcess, pem: Certificates, schema: str) -> None:
    """The options of a URL are those of the config."""
    query = f"schema={schema}&sslmode=verify-full&sslrootcert={pem.ca}&minimum_idle=0"
    with statekeep.open(f"postgres://postgres@127.0.0.1:{tls.port}/postgres?{query}") as storage:
        assert encrypted(tls, storage)


def test_tls_under_an_event_loop(tls: PostgresProcess, schema: str) -> None:
    """Many records, batches, conflicts: without a thread once a connection is open."""
    where = {"host": "127.0.0.1", "port": tls.port, "schema": schema, "sslmode": "require"}
    asyncio.run(encrypted_calls({"postgres": {**where, "minimum_idle": 0}}))
