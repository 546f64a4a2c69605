"""`examine()` and `statekeep doctor` on servers that were made sick."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from statekeep.findings import Severity
from statekeep_postgres import PostgresConfig
from statekeep_postgres import doctor as checks
from statekeep_postgres.backend import PostgresBackend

from tests.examination import TROUBLE, Examined, examine, innermost, told, trouble
from tests.postgres.conftest import Open
from tests.servers import certificates
from tests.servers.doctor import Ran, doctor
from tests.servers.postgres import SAFE, PostgresProcess, eventually, own
from tests.servers.proxy import Proxy

PROBLEM, ADVICE, UNKNOWN = Severity.PROBLEM, Severity.ADVICE, Severity.UNKNOWN
TABLES = ("key_value_storage", "key_set_storage", "deferred_message_storage")


@pytest.fixture(scope="module")
def sick(pem: certificates.Certificates) -> Iterator[PostgresProcess]:
    """A healthy server with TLS, which each test makes sick in one way and heals again."""
    with PostgresProcess({**SAFE, "wal_level": "logical"}) as process:
        for source, name in ((pem.cert, "cert"), (pem.key, "key")):
            _certificate(process, source, name)
        process.configure({"ssl_cert_file": "'cert.pem'", "ssl_key_file": "'key.pem'"})
        process.configure({"ssl": "on"})
        _reload(process)
        yield process


def _certificate(server: PostgresProcess, source: Path, name: str) -> None:
    target = server.data / f"{name}.pem"
    shutil.copy(source, target)
    target.chmod(0o600)
    own(target)


def _reload(server: PostgresProcess) -> None:
    server.sql("SELECT pg_reload_conf()")
    time.sleep(0.1)


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "sick" in request.fixturenames:
        server = request.getfixturevalue("sick")
        server.sql("ALTER SYSTEM RESET ALL")
        _reload(server)


def run(server: PostgresProcess | Proxy, *arguments: str, **options: Any) -> Ran:
    """What the command says."""
    return doctor("postgres", *arguments, host="127.0.0.1", port=server.port, **options)


def look(server: PostgresProcess, **options: Any) -> Examined:
    """What `examine()` finds, without `setup()`."""
    with closing(_backend(server, **options)) as backend:
        return examine(backend)


def _backend(server: PostgresProcess, **options: Any) -> PostgresBackend:
    given = {"host": "127.0.0.1", "port": server.port, "minimum_idle": 0, **options}
    return PostgresBackend(PostgresConfig(**given))


def test_a_healthy_server(sick: PostgresProcess, opened: Open, schema: str) -> None:
    """Nothing but good findings; no problem either on the way there."""
    opened(sick).values.put("key", b"value")
    found = look(sick, schema=schema)
    assert [each for each in found.findings if each.severity is not Severity.GOOD] == []
    assert run(sick, schema=schema).code == 0


@pytest.mark.parametrize(
    ("setting", "value", "check", "text"),
    [
        ("fsync", "off", "fsync", "damaged"),
        ("full_page_writes", "off", "full_page_writes", "half written"),
        ("autovacuum", "off", "autovacuum", "dead row"),
        ("synchronous_commit", "off", "synchronous_commit", "acknowledged"),
        ("synchronous_standby_names", "gone", "replication", "every commit waits"),
    ],
)
def test_a_setting_that_is_not_right(
    sick: PostgresProcess, setting: str, value: str, check: str, text: str
) -> None:
    """Each is a problem, with what it means and a statement that mends it."""
    sick.sql(f"ALTER SYSTEM SET {setting} = '{value}'")
    _reload(sick)
    finding = look(sick).one(check, PROBLEM)
    assert text in finding.meaning
    assert "ALTER SYSTEM SET" in finding.remedy


def test_settings_of_the_storage(sick: PostgresProcess) -> None:
    """A pool that the server cannot serve, commits that pass the standby by, no time limit."""
    found = look(sick, maximum_pool_size=58, statement_timeout=0)
    assert "53300" in found.one("max_connections", PROBLEM).meaning
    assert "statement_timeout = 60000" in found.one("timeouts", ADVICE).remedy
    assert look(sick, maximum_pool_size=55).one("max_connections", ADVICE)
    sick.sql("ALTER SYSTEM SET synchronous_standby_names = 'gone'")
    sick.sql("ALTER ROLE postgres SET synchronous_commit = 'local'")
    try:
        _reload(sick)
        assert "failover" in look(sick).one("synchronous_commit", ADVICE).meaning
    finally:
        sick.sql("ALTER ROLE postgres RESET synchronous_commit")


def test_every_right_that_is_missing_is_named(
    sick: PostgresProcess, opened: Open, schema: str
) -> None:
    """One by one, also where it keeps the user from opening the storage at all."""
    opened(sick).values.put("key", b"value")
    sick.sql(f"CREATE ROLE {schema} LOGIN")
    rights = [(right, f'"{schema}"."{table}"') for table in TABLES
              for right in ("SELECT", "INSERT", "UPDATE", "DELETE")]  # fmt: skip
    layout, floor = (f'"{schema}"."key_value_storage_{each}"' for each in ("layout", "floor"))
    rights += [("SELECT", layout), *((each, floor) for each in ("SELECT", "INSERT", "UPDATE"))]
    rights += [("USAGE", f'SCHEMA "{schema}"')]
    with sick.client() as admin:
        for right, place in rights:
            admin.run(f"GRANT {right} ON {place} TO {schema}")
    options = {"username": schema, "schema": schema, "create": False}
    ((function,),) = sick.sql(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE '%commit_1' "
        f"AND pronamespace = '{schema}'::regnamespace"
    )
    sick.sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM public")
    assert "EXECUTE on FUNCTION" in look(sick, **options).one("rights", PROBLEM).found
    sick.sql(f"GRANT EXECUTE ON FUNCTION {function} TO {schema}")
    found = look(sick, **options)
    assert found.bad("rights") == []
    assert [each.check for each in found.of(UNKNOWN)] == ["long-transactions"]
    assert f'GRANT pg_monitor TO "{schema}"' in found.one("long-transactions", UNKNOWN).remedy
    with sick.client() as admin, closing(_backend(sick, **options)) as backend:
        for right, place in rights:
            admin.run(f"REVOKE {right} ON {place} FROM {schema}")
            finding = examine(backend).one("rights", PROBLEM)
            assert finding.remedy == f'GRANT {right} ON {place} TO "{schema}";'
            admin.run(f"GRANT {right} ON {place} TO {schema}")
    sick.sql(f"REVOKE SELECT ON {layout} FROM {schema}")
    ran = run(sick, **options)
    assert [each["check"] for each in ran.problems] == ["login", "rights"]


def test_a_user_who_may_not_create(sick: PostgresProcess) -> None:
    """Where something is to be created, that right is needed, too."""
    sick.sql("CREATE ROLE nobody LOGIN")
    options = {"username": "nobody", "schema": "nowhere"}
    assert 'CREATE ON DATABASE "postgres"' in look(sick, **options).one("rights", PROBLEM).remedy
    sick.sql("CREATE SCHEMA nowhere")
    sick.sql("GRANT USAGE ON SCHEMA nowhere TO nobody")
    assert 'CREATE ON SCHEMA "nowhere"' in look(sick, **options).one("rights", PROBLEM).remedy


def test_tables_that_are_not_well(
    sick: PostgresProcess, opened: Open, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead rows, a vacuum that was turned off, an index that is not valid."""
    monkeypatch.setattr(checks, "MANY_DEAD", 5)
    storage = opened(sick)
    table = f'"{schema}".key_value_storage'
    sick.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    for _ in range(10):
        storage.values.put("key", b"value")
    storage.close()  # the server's process then tells its numbers at once
    sick.sql("UPDATE pg_index SET indisvalid = false "
             f"WHERE indexrelid = '\"{schema}\".key_value_storage_expires'::regclass")  # fmt: skip
    found = eventually(lambda: _with_dead_rows(sick, schema), "statistics")
    assert "VACUUM" in found.one("dead-rows", ADVICE).remedy
    assert "key_value_storage: " in found.one("dead-rows", ADVICE).found
    assert "key_value_storage_expires" in found.one("indexes", PROBLEM).found
    assert "RESET (autovacuum_enabled)" in found.one("autovacuum", PROBLEM).remedy


def _with_dead_rows(server: PostgresProcess, schema: str) -> Examined | None:
    found = look(server, schema=schema)
    return found if found.bad("dead-rows") else None


def test_what_keeps_rows_and_log(
    sick: PostgresProcess, opened: Open, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that is open for long, a slot without a reader, a counter near its end."""
    monkeypatch.setattr(checks, "LONG", 0)
    monkeypatch.setattr(checks, "SLOT_BYTES", -1)
    monkeypatch.setattr(checks, "OLD_AGE", 0)
    sick.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        with sick.client() as client:
            client.run("BEGIN; SELECT 1")
            found = look(sick)
            assert "pg_terminate_backend" in found.one("long-transactions", ADVICE).remedy
        assert "'forgotten'" in found.one("slots", PROBLEM).found
        assert "VACUUM FREEZE" in found.one("wraparound", PROBLEM).remedy
    finally:
        sick.sql("SELECT pg_drop_replication_slot('forgotten')")


def test_a_database_of_another_encoding(sick: PostgresProcess) -> None:
    """Keys would be bytes that nobody checks."""
    sick.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
    assert "UTF8" in look(sick, database="ascii").one("server_encoding", PROBLEM).remedy


def test_a_clock_that_is_off(sick: PostgresProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """By seconds advice, by half a minute a problem."""
    monkeypatch.setattr(checks, "now_micros", lambda: (time.time_ns() // 1000) - 5_000_000)
    assert "5.0 s ahead of this machine" in look(sick).one("clock", ADVICE).found
    monkeypatch.setattr(checks, "now_micros", lambda: (time.time_ns() // 1000) + 40_000_000)
    assert "40.0 s behind this machine" in look(sick).one("clock", PROBLEM).found


def test_what_is_stored(
    sick: PostgresProcess, opened: Open, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired values; messages due long ago, left by a worker, that fail again and again."""
    monkeypatch.setattr("statekeep.examining.MANY_EXPIRED", 3)
    storage = opened(sick)
    trouble(storage)
    sick.sql(f'UPDATE "{schema}".deferred_message_storage {TROUBLE}')
    told(look(sick, schema=schema))


@pytest.mark.soak
def test_a_standby() -> None:
    """It takes no writes; its primary tells how far it is behind, to those who may see it."""
    with PostgresProcess(SAFE) as primary, PostgresProcess(primary=primary) as standby:
        eventually(lambda: primary.sql("SELECT 1 FROM pg_stat_replication"), "a standby")
        (replication,) = [each for each in look(primary).findings if each.check == "replication"]
        assert (replication.severity, "standby" in replication.found) == (Severity.GOOD, True)
        primary.sql("CREATE ROLE plain LOGIN")
        assert "pg_monitor" in look(primary, username="plain").one("replication", UNKNOWN).remedy
        found = look(standby, target_session_attrs="any")
        assert found.one("role", PROBLEM)
        refused = run(standby).one("login")
        assert "read-only" in refused["found"]


def test_tls(sick: PostgresProcess, pem: certificates.Certificates, tmp_path: Path) -> None:
    """Verified, and to be renewed soon; of an unknown authority; expired."""
    verified = {"sslmode": "verify-full", "sslrootcert": str(pem.ca)}
    ran = run(sick, **verified)
    assert "TLSv1.3" in ran.one("tls")["found"]
    assert "renew it" in ran.one("certificate")["remedy"]  # those of the tests last two days
    ran = run(sick, sslmode="verify-full", sslrootcert=str(pem.other_ca))
    assert [each["check"] for each in ran.problems] == ["certificate"]
    assert "certificate is refused" in ran.problems[0]["meaning"]
    _certificate(sick, certificates.expired(tmp_path, pem), "cert")
    _reload(sick)
    try:
        assert "expired" in run(sick, **verified).one("certificate")["found"]
        unverified = run(sick, sslmode="require").one("certificate")
        assert (unverified["severity"], "2020-02-01" in unverified["found"]) == ("advice", True)
    finally:
        _certificate(sick, pem.cert, "cert")
        _reload(sick)


def test_a_server_without_tls(server: PostgresProcess) -> None:
    """That the config insists on it is the problem."""
    tls, login = run(server, sslmode="require").problems
    assert (tls["check"], login["check"]) == ("tls", "login")
    assert "offers no TLS" in tls["found"]


def test_the_ways_in_which_nobody_answers(own: PostgresProcess, proxy: Proxy) -> None:
    """No such database, a wrong user, a server that hangs before and after the login."""
    ran = run(own, database="missing")
    assert [each["check"] for each in ran.problems] == ["tables"]
    assert "role" in run(own, username="nobody").one("login")["found"]
    proxy.refuse = True
    assert {each["check"] for each in run(proxy).problems} <= {"port", "protocol"}
    own.freeze()
    begun = time.monotonic()
    (silent,) = run(own, "--timeout", "300ms").problems
    assert (silent["check"], "says nothing" in silent["found"]) == ("protocol", True)
    assert time.monotonic() - begun < 20


@pytest.mark.soak
def test_a_server_that_hangs_in_the_middle(
    sick: PostgresProcess, opened: Open, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for ever: the stage, and that it did not answer; what was found before stays."""
    opened(sick)
    clock = checks._Examination._clock

    def hang(self: Any) -> Iterator[Any]:
        sick.freeze()
        return clock(self)

    monkeypatch.setattr(checks._Examination, "_clock", hang)
    begun = time.monotonic()
    try:
        ran = run(sick, "--timeout", "500ms", schema=schema, statement_timeout=1000)
    finally:
        sick.thaw()
    assert time.monotonic() - begun < 30
    assert [each["check"] for each in ran.problems] == ["answer", "latency"]
    assert ran.one("rights")["severity"] == "good", ran.out
    assert innermost(opened(sick)).ping() is None
