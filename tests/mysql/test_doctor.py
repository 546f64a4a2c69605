"""`examine()` and `statekeep doctor` on servers that were made sick."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from statekeep.findings import Severity
from statekeep_mysql import MysqlConfig, settings
from statekeep_mysql import doctor as checks
from statekeep_mysql.backend import MysqlBackend
from statekeep_mysql.driver import Connection

from tests.examination import TROUBLE, Examined, examine, told, trouble
from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.servers.certificates import Certificates
from tests.servers.doctor import Ran, doctor
from tests.servers.galera import GaleraCluster
from tests.servers.mysql import SAFE, MysqlProcess, eventually

PROBLEM, ADVICE, UNKNOWN = Severity.PROBLEM, Severity.ADVICE, Severity.UNKNOWN


@pytest.fixture(scope="module")
def sick(pem: Certificates) -> Iterator[MysqlProcess]:
    """A healthy server with a binary log, which each test makes sick in one way and heals again."""
    options = {
        **SAFE, "log_bin": "ON", "server_id": "1", "sync_binlog": "1", "binlog_format": "ROW",
        "ssl_ca": str(pem.ca), "ssl_cert": str(pem.cert), "ssl_key": str(pem.key),
    }  # fmt: skip
    with MysqlProcess(options) as process:
        yield process


@pytest.fixture(scope="module")
def shared(sick: MysqlProcess) -> str:
    """A database with everything, for tests that change nothing in it."""
    with closing(_backend(sick, database="shared")) as backend:
        backend.setup()
    return "shared"


def run(server: MysqlProcess, *arguments: str, **options: Any) -> Ran:
    """What the command says."""
    given = {"host": "127.0.0.1", "port": server.port, **APP, **options}
    return doctor("mysql", *arguments, **given)


def look(server: MysqlProcess, **options: Any) -> Examined:
    """What `examine()` finds, without `setup()`."""
    with closing(_backend(server, **options)) as backend:
        return examine(backend)


def _backend(server: MysqlProcess, **options: Any) -> MysqlBackend:
    given = {"host": "127.0.0.1", "port": server.port, "minimum_idle": 0, **APP, **options}
    return MysqlBackend(MysqlConfig(**given))


def test_a_healthy_server(sick: MysqlProcess, shared: str) -> None:
    """Nothing but good findings; no problem either on the way there, but for the certificate."""
    found = look(sick, database=shared)
    assert [each for each in found.findings if each.severity is not Severity.GOOD] == []
    ran = run(sick, database=shared)
    assert (ran.code, "TLSv1.3" in ran.one("tls")["found"]) == (0, True)


@pytest.mark.parametrize(
    ("setting", "value", "check", "severity", "text"),
    [
        ("innodb_flush_log_at_trx_commit", "2", None, PROBLEM, "a second"),
        ("sync_binlog", "0", None, ADVICE, "replicas"),
        ("binlog_format", "STATEMENT", None, PROBLEM, "1665"),
        ("max_allowed_packet", "4194304", None, PROBLEM, "InvalidArgument"),
        ("max_connections", "12", None, ADVICE, "few are left"),
        ("read_only", "1", "role", PROBLEM, "1290"),
    ],
)
def test_a_setting_that_is_not_right(
    sick: MysqlProcess, setting: str, value: str, check: str, severity: Severity, text: str,
    shared: str,
) -> None:  # fmt: skip
    """Each is found, with what it means and a statement that mends it."""
    ((before,),) = sick.sql(f"SELECT @@GLOBAL.{setting}")
    sick.sql(f"SET GLOBAL {setting} = {value!r}" if value.isalpha()
             else f"SET GLOBAL {setting} = {value}")  # fmt: skip
    try:
        found = look(sick, database=shared, target_server_type="any", maximum_pool_size=11)
        finding = found.one(check or setting, severity)
    finally:
        sick.sql(f"SET GLOBAL {setting} = %s", before)
    assert text in finding.meaning
    assert "SET GLOBAL" in finding.remedy


def test_settings_of_the_storage(sick: MysqlProcess, shared: str) -> None:
    """A pool that the server cannot serve; connections older than the server lets them be."""
    found = look(sick, database=shared, maximum_pool_size=201, max_lifetime=40_000_000_000)
    assert "1040" in found.one("max_connections", PROBLEM).meaning
    assert "max_lifetime = " in found.one("wait_timeout", ADVICE).remedy


def test_settings_that_a_proxy_loses(
    sick: MysqlProcess, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that has not what it set for itself: isolation, strictness, its time to live."""
    with closing(_backend(sick, database=shared)) as backend:
        with backend._database.connection() as connection:
            connection.run(("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",))
            connection.run(("SET SESSION sql_mode='', wait_timeout=30",))
        found = examine(backend)
    assert "REPEATABLE-READ" in found.one("transaction_isolation", PROBLEM).found
    assert found.one("sql_mode", PROBLEM)
    assert found.one("wait_timeout", ADVICE).found.startswith("30 s")


@pytest.mark.parametrize(
    ("told", "check"),
    [({"innodb_flush_method": "nosync"}, "innodb_flush_method"),
     ({"innodb_doublewrite": "OFF"}, "innodb_doublewrite")],
)  # fmt: skip
def test_settings_of_the_start(told: dict[str, str], check: str) -> None:
    """What takes a restart to change is told from the settings alone."""
    healthy = {"innodb_flush_log_at_trx_commit": "1", "innodb_flush_method": "fsync"}
    (finding,) = [each for each in settings.durability({**healthy, **told})
                  if each.severity is PROBLEM]  # fmt: skip
    assert (finding.check, "restart" in finding.remedy) == (check, True)
    (history,) = [settings.history({"Innodb_history_list_length": "2000000"})]
    assert history is not None and history.severity is ADVICE


def test_every_right_that_is_missing_is_named(
    sick: MysqlProcess, opened: Open, database: str
) -> None:
    """One by one, with the statement that grants it."""
    opened(sick, database=database).values.put("key", b"value")
    user = f"'{database}'@'%'"
    sick.sql(f"CREATE USER {user} IDENTIFIED BY 'x'")
    tables = ("key_value_storage", "key_set_storage", "deferred_message_storage")
    rights = [(right, table) for table in tables
              for right in ("SELECT", "INSERT", "UPDATE", "DELETE")]  # fmt: skip
    floor = "key_value_storage_floor"
    rights += [(right, floor) for right in ("SELECT", "INSERT", "UPDATE")]
    rights += [("SELECT", "key_value_storage_layout")]
    with sick.client() as admin, admin.cursor() as cursor:
        for right, table in rights:
            cursor.execute(f"GRANT {right} ON `{database}`.`{table}` TO {user}")
        options = {"username": database, "password": "x", "database": database}
        with closing(_backend(sick, **options)) as backend:
            found = examine(backend)
            assert found.bad("rights") == []
            assert [each.check for each in found.of(UNKNOWN)] == ["long-transactions"]
            finding = found.one("long-transactions", UNKNOWN)
            assert finding.remedy == f"GRANT PROCESS ON *.* TO {user};"
            for right, table in rights[:-1]:  # nobody sees a table on which there is no right
                place = f"`{database}`.`{table}`"
                cursor.execute(f"REVOKE {right} ON {place} FROM {user}")
                finding = examine(backend).one("rights", PROBLEM)
                assert finding.remedy == f"GRANT {right} ON {place} TO {user};"
                cursor.execute(f"GRANT {right} ON {place} TO {user}")


def test_tables_that_are_not_well(
    sick: MysqlProcess, opened: Open, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another engine, unused room, a transaction that is open for long."""
    monkeypatch.setattr(checks, "LONG", 0)
    monkeypatch.setattr(checks, "MUCH_FREE", 0)
    storage = opened(sick, database=database)
    storage.values.put_many({f"{number}": bytes(500_000) for number in range(20)})
    with storage.transaction() as transaction:
        for number in range(20):
            transaction.delete(f"{number}")
    sick.sql(f"ALTER TABLE `{database}`.key_set_storage ENGINE = Aria")
    with sick.client(database) as client, client.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM key_value_storage LIMIT 1 FOR UPDATE")
        found = look(sick, database=database)
    assert "ENGINE = InnoDB" in found.one("engine", PROBLEM).remedy
    assert "KILL" in found.bad("long-transactions")[0].remedy


def test_what_is_stored(
    sick: MysqlProcess, opened: Open, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired values; messages due long ago, left by a worker, that fail again and again."""
    monkeypatch.setattr("statekeep.examining.MANY_EXPIRED", 3)
    storage = opened(sick, database=database)
    trouble(storage)
    sick.sql(f"UPDATE `{database}`.deferred_message_storage {TROUBLE}")
    told(look(sick, database=database))


def test_a_clock_that_is_off(
    sick: MysqlProcess, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By half a minute: a problem."""
    monkeypatch.setattr(checks, "now_micros", lambda: (time.time_ns() // 1000) + 40_000_000)
    assert "40.0 s behind this machine" in look(sick, database=shared).one("clock", PROBLEM).found


def test_the_ways_in_which_nobody_answers(server: MysqlProcess, sick: MysqlProcess) -> None:
    """No such database, a wrong password, no TLS, a server that hangs."""
    assert [each["check"] for each in run(server, database="missing").problems] == ["tables"]
    ran = run(server, password="hunter2")
    assert ([each["check"] for each in ran.problems], "hunter2" in ran.out) == (["login"], False)
    tls = run(server, ssl_mode="required").problems[0]
    assert (tls["check"], "offers no TLS" in tls["found"]) == ("tls", True)
    refused = run(sick, ssl_mode="verify_identity").problems
    assert [each["check"] for each in refused] == ["certificate"]
    sick.freeze()
    try:
        begun = time.monotonic()
        (silent,) = run(sick, "--timeout", "300ms").problems
        assert time.monotonic() - begun < 20
    finally:
        sick.thaw()
    assert (silent["check"], "says nothing" in silent["found"]) == ("protocol", True)


def test_a_server_that_takes_no_more(sick: MysqlProcess) -> None:
    """Its refusal is an answer of the right kind; what it means is told at the login."""
    sick.sql("SET GLOBAL max_connections = 10")
    clients: list[Connection] = []
    try:
        with pytest.raises(Exception, match="1040"):
            clients.extend(_connection(sick) for _ in range(20))
        ran = run(sick)
        assert ran.one("protocol")["severity"] == "good"
        assert "maximum_pool_size" in ran.one("login")["found"]
    finally:
        for each in clients:
            each.close()
        eventually(lambda: sick.sql("SET GLOBAL max_connections = 200") == [], "room")


def _connection(server: MysqlProcess) -> Connection:
    backend = _backend(server, database="mysql")
    return backend._database._dialer.connect(5)


GALERA = {"wsrep_on": "ON", "wsrep_sync_wait": "7", "wsrep_ready": "ON",
          "wsrep_cluster_status": "Primary", "wsrep_cluster_size": "3",
          "wsrep_local_state_comment": "Synced", "wsrep_flow_control_paused": "0"}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "check", "severity"),
    [
        ({"wsrep_cluster_status": "non-Primary"}, "galera", PROBLEM),
        ({"wsrep_ready": "OFF"}, "galera", PROBLEM),
        ({"wsrep_cluster_size": "2"}, "galera", ADVICE),
        ({"wsrep_flow_control_paused": "0.4"}, "galera", ADVICE),
        ({"wsrep_sync_wait": "0"}, "wsrep_sync_wait", PROBLEM),
    ],
)
def test_a_node_of_galera(told: dict[str, str], check: str, severity: Severity) -> None:
    """What its status means; a minority, a cluster that cannot lose one, a node that is slow."""
    assert all(each.severity is Severity.GOOD for each in settings.galera(GALERA))
    bad = [each for each in settings.galera({**GALERA, **told})
           if each.severity is not Severity.GOOD]  # fmt: skip
    assert [(each.check, each.severity) for each in bad] == [(check, severity)]


@pytest.mark.soak
@pytest.mark.xdist_group("galera")
def test_a_cluster_of_galera() -> None:
    """Healthy; and the last node of three, in a minority, says so."""
    with GaleraCluster() as cluster:
        node = cluster.nodes[0]
        options = {"target_server_type": "any", "database": "mysql"}
        found = look(node, **options)
        assert found.bad("galera") == found.bad("wsrep_sync_wait") == []
        for other in cluster.nodes[1:]:
            other.kill()
        eventually(lambda: not cluster.size(node), "a minority")
        first = next(settings.galera(_status(node)))
        assert (first.check, first.severity) == ("galera", PROBLEM)
        assert "not in sync" in run(node).one("login")["found"]


def _status(node: MysqlProcess) -> dict[str, str]:
    return {
        **dict(node.sql("SHOW GLOBAL STATUS LIKE 'wsrep_%'")),
        **dict(node.sql("SHOW VARIABLES LIKE 'wsrep_%'")),
    }
