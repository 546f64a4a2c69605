"""`examine()` and `statekeep doctor` on servers that were made sick."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import Storage, examining
from statekeep.findings import Severity
from statekeep_redis import RedisConfig, settings
from statekeep_redis import doctor as checks
from statekeep_redis.backend import RedisBackend

from tests.examination import Examined, examine, innermost
from tests.operations import pages
from tests.servers.certificates import Certificates
from tests.servers.doctor import doctor
from tests.servers.ports import free_ports
from tests.servers.redis import RedisCluster, RedisProcess, SentinelGroup, eventually

PROBLEM, ADVICE, UNKNOWN = Severity.PROBLEM, Severity.ADVICE, Severity.UNKNOWN
HEALTHY: dict[str, str | list[str]] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory": "500mb",
    "maxmemory-policy": "noeviction",
}
SLOW = """
local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end
local till = now() + 110000
repeat until now() > till
"""


@pytest.fixture(scope="module")
def sick() -> Iterator[RedisProcess]:
    """A healthy server, which each test makes sick in one way and heals again."""
    with RedisProcess(HEALTHY) as process:
        yield process


@contextmanager
def examined(server: RedisProcess, **options: Any) -> Iterator[tuple[Storage, Callable[[], Any]]]:
    given = {"host": "127.0.0.1", "port": server.port, **options}
    with statekeep.open({"redis": given}) as storage:
        yield storage, lambda: examine(innermost(storage))


def _unopened(**options: Any) -> Examined:
    """What is found without `setup()`, which a user without rights does not get through."""
    with closing(RedisBackend(RedisConfig(**options))) as backend:
        return examine(backend)


def _setting(server: RedisProcess, name: str) -> str:
    with server.client(decode_responses=True) as client:
        return str(client.config_get(name)[name])


def look(server: RedisProcess, **options: Any) -> Examined:
    with examined(server, **options) as (_, found):
        return found()


def test_a_healthy_server(sick: RedisProcess) -> None:
    """Nothing but good findings."""
    found = look(sick)
    assert [each for each in found.findings if each.severity is not Severity.GOOD] == []


@pytest.mark.parametrize(
    ("setting", "value", "check", "severity", "text"),
    [
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy", PROBLEM, "deletes any key"),
        ("maxmemory-policy", "volatile-ttl", "maxmemory-policy", PROBLEM, "time to live"),
        ("maxmemory", "0", "maxmemory", ADVICE, "kernel ends the server"),
        ("maxmemory", "1mb", "maxmemory", PROBLEM, "OOM"),
        ("appendfsync", "everysec", "persistence", ADVICE, "up to a second"),
        ("appendfsync", "no", "persistence", PROBLEM, "half a minute"),
        ("appendonly", "no", "persistence", PROBLEM, "everything"),
        ("min-replicas-to-write", "2", "min-replicas-to-write", PROBLEM, "NOREPLICAS"),
        ("proto-max-bulk-len", "1mb", "proto-max-bulk-len", PROBLEM, "InvalidArgument"),
    ],
)
def test_a_setting_that_is_not_right(
    sick: RedisProcess, setting: str, value: str, check: str, severity: Severity, text: str
) -> None:
    """Each is found, with what it means and a command that mends it."""
    before = _setting(sick, setting)
    sick.command("CONFIG", "SET", setting, value)
    try:
        finding = look(sick).one(check, severity)
    finally:
        sick.command("CONFIG", "SET", setting, before)
    assert text in finding.meaning
    assert "CONFIG SET" in finding.remedy


def test_snapshots_alone(sick: RedisProcess) -> None:
    """Better than nothing: advice."""
    sick.command("CONFIG", "SET", "appendonly", "no")
    sick.command("CONFIG", "SET", "save", "3600 1")
    try:
        finding = look(sick).one("persistence", ADVICE)
    finally:
        sick.command("CONFIG", "SET", "save", "")
        sick.command("CONFIG", "SET", "appendonly", "yes")
    assert "3600 1" in finding.found


def test_state_that_was_evicted() -> None:
    """Lost for good, and so a problem also after the policy was mended."""
    options = {"maxmemory": "3mb", "maxmemory-policy": "allkeys-random"}
    with RedisProcess(options) as server:
        for number in range(400):
            server.command("SET", f"other{number}", "x" * 10_000)
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.command("CONFIG", "SET", "maxmemory", "100mb")
        found = look(server)
        assert "state was lost" in found.one("evicted_keys", PROBLEM).meaning
        assert "'other" in found.one("other-keys", ADVICE).found


def test_a_disk_that_cannot_be_written(sick: RedisProcess) -> None:
    """The last save failed."""
    folder = Path(_setting(sick, "dir"))
    target = folder / "dump.rdb"
    target.unlink(missing_ok=True)
    target.mkdir()  # the rename onto it fails
    try:
        sick.command("BGSAVE")
        eventually(
            lambda: sick.info("persistence")["rdb_last_bgsave_status"] == "err", "a failed save"
        )
        assert "MISCONF" in look(sick).one("last-save", PROBLEM).meaning
    finally:
        target.rmdir()
        sick.command("BGSAVE")
        eventually(
            lambda: sick.info("persistence")["rdb_last_bgsave_status"] == "ok", "a good save"
        )


def test_a_pool_above_the_server(sick: RedisProcess) -> None:
    """More connections than the server takes; and replicas that are waited for in vain."""
    found = look(sick, max_total=20_000, wait_replicas=1, wait_timeout=10)
    assert "20000" in found.one("maxclients", PROBLEM).found
    assert "OutcomeUnknown" in found.one("replicas", PROBLEM).meaning


def test_a_slow_command(sick: RedisProcess) -> None:
    """Its name and how long it took."""
    sick.command("EVAL", SLOW, 0)
    found = look(sick).one("slowlog", ADVICE)
    sick.command("SLOWLOG", "RESET")
    assert "slow commands" in found.found


@pytest.mark.parametrize(
    "command", ["get", "mget", "zmscore", "zlexcount", "hset", "unlink", "zadd", "hstrlen", "eval"]
)
def test_a_right_that_is_missing_is_named(sick: RedisProcess, command: str) -> None:
    """One by one, reads and writes, with the rule that allows it."""
    sick.command("ACL", "SETUSER", "weak", "reset", "on", "nopass", "~statekeep:*", "+@all",
                 f"-{command}")  # fmt: skip
    finding = _unopened(username="weak", host="127.0.0.1", port=sick.port).one("rights", PROBLEM)
    assert f"may not run {command.upper()}" in finding.found
    assert finding.remedy.startswith(f"redis-cli ACL SETUSER weak +{command} ")


def test_the_least_rights(sick: RedisProcess) -> None:
    """What the application's user of docs/security.md may not ask is unknown, and ends nothing."""
    (line,) = pages.commands("security", "redis-app")
    sick.command(*line.split())
    found = look(sick, username="app", password="app-secret")
    assert found.problems == []
    assert {each.check for each in found.of(UNKNOWN)} == {"server-info", "slowlog", "other-keys"}
    assert "+info" in found.one("server-info", UNKNOWN).remedy
    assert "slowlog" in found.one("slowlog", UNKNOWN).found
    assert found.bad("rights") == found.bad("clock") == found.bad("queues") == []


def test_settings_that_may_not_be_asked(sick: RedisProcess) -> None:
    """As at providers that rename CONFIG: unknown, and what INFO says is looked at still."""
    sick.command("ACL", "SETUSER", "some", "reset", "on", "nopass", "~*", "+@all", "-config")
    found = look(sick, username="some")
    assert "+config|get" in found.one("server-config", UNKNOWN).remedy
    assert found.bad("persistence") == []


def test_queues_leases_and_attempts(sick: RedisProcess) -> None:
    """Messages due long ago, a claim that ran out, and one that fails again and again."""
    prefix = "stuck:"
    with examined(sick, prefix=prefix) as (storage, found):
        long_ago = timedelta(minutes=-9)
        now = storage.deferred.schedule  # a due time before now is due at once
        past = _server_time(sick) + long_ago
        for number in range(3):
            now("lonely", f"{number}", due=past)
        now("working", "later", due=timedelta(hours=1))
        now("failing", "it", due=timedelta(0))
        for _ in range(10):
            (message,) = storage.deferred.claim("failing")
            storage.deferred.release(message)
        storage.deferred.cancel("failing", "it")
        examination = found()
        stuck = examination.one("queues", PROBLEM)
        assert "3 messages have been due for more than 5 minutes" in stuck.found
        assert "3 in 'lonely'" in stuck.found and "9 minutes" in stuck.found
        assert "4 messages of 2 queues" in stuck.found
        now("failing", "it", due=timedelta(0))
        for _ in range(10):
            (message,) = storage.deferred.claim("failing")
            storage.deferred.release(message)
        assert "1 in 'failing'" in found().one("attempts", ADVICE).found
        for number in range(3):
            storage.deferred.cancel("lonely", f"{number}")


def _server_time(server: RedisProcess) -> Any:
    from statekeep.clock import from_micros

    seconds, micros = server.command("TIME")
    return from_micros(int(seconds) * 1_000_000 + int(micros))


def test_names_of_expired_values(sick: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis removes the values; the names wait for a purge."""
    monkeypatch.setattr("statekeep.examining.MANY_EXPIRED", 3)
    with examined(sick, prefix="expired:") as (storage, found):
        with storage.transaction() as transaction:
            for number in range(4):
                transaction.put(f"{number}", b"", ttl=timedelta(milliseconds=1))
        time.sleep(0.05)
        finding = found().one("expired", ADVICE)
        assert (finding.remedy, "at least 3" in finding.found) == ("statekeep purge", True)
        storage.purge()
        assert found().bad("expired") == []


def test_a_sentinel(sick: RedisProcess) -> None:
    """One alone is advised against; where it wants the voice of another, no failover can be."""
    lines = [f"monitor state 127.0.0.1 {sick.port} 2"]
    with RedisProcess({"sentinel": lines}, program="redis-sentinel") as sentinel:
        where = [f"127.0.0.1:{sentinel.port}"]
        found = _unopened(sentinels=where, master_name="state")
        assert "NOQUORUM" in found.one("sentinels", PROBLEM).found
        assert "nobody to take over" in found.one("replicas", ADVICE).meaning
        sentinel.command("SENTINEL", "SET", "state", "quorum", "1")
        found = _unopened(sentinels=where, master_name="state")
        assert "knows 1 Sentinels" in found.one("sentinels", ADVICE).found


@pytest.mark.soak
@pytest.mark.xdist_group("redis-sentinel")
def test_a_group_of_sentinels() -> None:
    """Three are well; one that is gone is named, and the rest is examined still."""
    group = SentinelGroup(options=HEALTHY)
    try:
        options = {"sentinels": group.addresses, "master_name": group.name, "timeout": 1000}
        found = _unopened(**options)
        assert found.bad("sentinels") == []
        assert "cut off" in found.one("min-replicas-to-write", ADVICE).meaning
        group.sentinels[2].kill()
        ran = doctor("redis", **options)
        assert [each["check"] for each in ran.problems] == ["port", "sentinels"]
        assert ran.one("latency")["severity"] == "good"
    finally:
        group.close()


def test_a_slot_that_nobody_serves() -> None:
    """A Cluster, here of one node, says that it is not complete."""
    options = {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
    with RedisProcess(options) as node:
        node.command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: b"cluster_state:ok" in _cluster_info(node), "a complete Cluster")
        nodes = [f"127.0.0.1:{node.port}"]
        assert _unopened(nodes=nodes, timeout=300).bad("cluster") == []
        node.command("CLUSTER DELSLOTS", 0)
        finding = _unopened(nodes=nodes, timeout=300).one("cluster", PROBLEM)
        assert "fail, 16383 of 16384 slots" in finding.found


def _cluster_info(node: RedisProcess) -> bytes:
    found = node.command("CLUSTER INFO")
    return found if isinstance(found, bytes) else f"cluster_state:{found['cluster_state']}".encode()


@pytest.mark.soak
@pytest.mark.xdist_group("redis-cluster")
def test_a_node_that_is_gone() -> None:
    """It is named, and the others are examined still."""
    cluster = RedisCluster(replicas=0)
    try:
        options = {"nodes": cluster.addresses, "timeout": 1000}
        with statekeep.open({"redis": options}) as storage:
            for number in range(20):
                storage.deferred.schedule(f"queue/{number}", "id", due=timedelta(hours=1))
        found = _unopened(**options)
        assert "20 messages of 20 queues" in str(found.findings)
        cluster.nodes[2].kill()
        ran = doctor("redis", **options)
        said = [each["found"] for each in ran.problems if each["check"] in ("port", "cluster")]
        assert sum(str(cluster.nodes[2].port) in each for each in said) == 2
        assert len([each for each in ran.findings if each["check"] == "role"]) == 2
    finally:
        cluster.close()


def test_a_replica(sick: RedisProcess) -> None:
    """It takes no writes; the calls that doctor tries are refused, and that is told."""
    with RedisProcess({**HEALTHY, "replicaof": f"127.0.0.1 {sick.port}"}) as replica:
        eventually(lambda: replica.info()["master_link_status"] == "up", "its link")
        ran = doctor("redis", host="127.0.0.1", port=replica.port)
        assert [each["check"] for each in ran.problems] == ["role", "latency"]
        assert "READONLY" in ran.problems[1]["found"]


def test_a_wrong_password_and_a_frozen_server() -> None:
    """Told apart, and both within the time that is allowed."""
    with RedisProcess({"requirepass": "s3cret"}, connect={"password": "s3cret"}) as server:
        options = {"host": "127.0.0.1", "port": server.port, "password": "hunter2"}
        ran = doctor("redis", **options)
        (login,) = ran.problems
        assert (login["check"], "WRONGPASS" in login["found"]) == ("login", True)
        assert "hunter2" not in ran.out
        server.freeze()
        begun = time.monotonic()
        ran = doctor("redis", "--timeout", "300ms", **options)
        assert time.monotonic() - begun < 20
        (silent,) = ran.problems
        assert (silent["check"], "says nothing" in silent["found"]) == ("protocol", True)


def test_a_server_that_tells_little() -> None:
    """As some providers' do: what it leaves out is unknown by name, and nothing breaks."""
    told = settings.Told(
        where="", info=settings.Said(redis_version="7.2.4"), config=settings.Said(), others=False
    )
    looks = settings.looks(told, RedisConfig(host="h"), pool_open=0)
    found = Examined(examining.examined(looks), checks.CHECKS)
    assert found.bad("version") == []
    assert "does not tell maxmemory_policy" in found.one("maxmemory-policy", UNKNOWN).found
    assert {each.severity for each in found.findings} == {Severity.GOOD, UNKNOWN}
    old = settings.Said(redis_version="6.0.16")
    told = settings.Told(where="", info=old, config=settings.Said(), others=False)
    looks = settings.looks(told, RedisConfig(host="h"), pool_open=0)
    assert Examined(examining.examined(looks), checks.CHECKS).one("version", PROBLEM)


def test_a_server_of_another_kind(sick: RedisProcess, pem: Certificates) -> None:
    """Its silence is told from that of a frozen one: what it is, is tried out."""
    for backend in ("postgres", "mysql"):
        ran = doctor(backend, "--timeout", "300ms", host="127.0.0.1", port=sick.port)
        assert "answers as redis" in ran.one("protocol")["found"]
    wrapped = doctor("redis", "--timeout", "1s", host="127.0.0.1", port=sick.port, ssl=True)
    assert "answers as redis" in wrapped.problems[0]["found"]
    (port,) = free_ports()
    options = {"port": "0", "tls-port": str(port), "tls-cert-file": str(pem.cert),
               "tls-key-file": str(pem.key), "tls-ca-cert-file": str(pem.ca),
               "tls-auth-clients": "no", **HEALTHY}  # fmt: skip
    connect = {"ssl": True, "ssl_ca_certs": str(pem.ca)}
    with RedisProcess(options, port=port, connect=connect):
        plain = doctor("redis", "--timeout", "1s", host="127.0.0.1", port=port)
        assert "answers as redis over TLS" in plain.one("protocol")["found"]
        given = {"host": "127.0.0.1", "port": port, "ssl": True, "ssl_ca_file": str(pem.ca)}
        ran = doctor("redis", **given)
        assert "TLSv1.3" in ran.one("tls")["found"]
        assert [each["check"] for each in ran.problems] == ["certificate"]  # it ends in two days
