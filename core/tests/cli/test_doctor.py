"""`doctor`: config, plugins, the way to a server; what a plugin finds is tested with the plugin."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep.cli import capacity, doctor, reaching
from statekeep.cli.certificates import expiry
from statekeep.cli.patience import TooSlow, steps, within
from statekeep.cli.probes import Timing
from statekeep.errors import Unavailable
from statekeep.findings import Finding, Severity
from statekeep.servers import Hailed, Server, WrongProtocol
from statekeep_sqlite.backend import SqliteBackend

PROBLEM = "problem"
ELSEWHERE = "0.0.0.0"
"""Not a loopback address by its look; Linux leads it to this machine all the same."""


def test_a_good_store_in_lines(run, elsewhere) -> None:
    """A line for each finding, good ones marked ok, and the sum; exit code 0."""
    run("put", "key", "value")
    found = run("doctor", "--rounds", "2")
    assert found.code == 0
    assert (
        found.lines[0] == f"{'ok':<8}{'config':<32}valid, backend sqlite, from the embedded default"
    )
    assert found.lines[-1].endswith("0 problem, 0 unknown")
    assert any(line.startswith(f"{'ok':<8}{'pool':<32}") for line in found.lines)
    assert not run("list").raw.startswith(b"{statekeep")


def test_a_good_store_in_json(run) -> None:
    """One object for each finding, with the fields of the page."""
    run("put", "key", "value")
    found = run("doctor", "--json", "--rounds", "2")
    assert all(
        set(each) == {"severity", "check", "found", "meaning", "remedy"} for each in found.jsons
    )
    assert [each["check"] for each in found.jsons][:4] == ["config", "plugin", "login", "tables"]


def test_nothing_is_created(run, elsewhere) -> None:
    """What is missing is a problem, with the command that creates it."""
    found = run("doctor", "--json")
    (problem,) = [each for each in found.jsons if each["severity"] == PROBLEM]
    assert (found.code, problem["check"]) == (1, "tables")
    assert problem["remedy"].endswith("statekeep check --create")
    assert list(elsewhere.iterdir()) == []


def test_all_problems_of_a_config(run, elsewhere) -> None:
    """Each is a finding; nothing is on stderr."""
    (elsewhere / "statekeep.toml").write_text("[storage.sqlite]\npath = 3\nbusy_timout = 1")
    found = run("doctor", "--json")
    assert (found.code, found.err) == (1, "")
    assert [each["check"] for each in found.jsons] == ["config", "config"]
    assert "did you mean 'busy_timeout'?" in str(found.jsons)


def test_a_plugin_that_is_missing(run, monkeypatch) -> None:
    """The line that installs it."""
    from statekeep import registry

    empty = registry.Registry([])
    monkeypatch.setattr(registry, "default_registry", lambda: empty)
    monkeypatch.setattr("statekeep.config.default_registry", lambda: empty)
    found = run("doctor", "--url", "redis://localhost", "--json")
    (problem,) = found.jsons
    assert (found.code, problem["check"], problem["remedy"]) == (
        1, "plugin", "pip install statekeep-redis",
    )  # fmt: skip


def test_plugins_that_are_not_whole(run, monkeypatch) -> None:
    """One that is broken, one of another version: advice, as this store needs neither."""
    from importlib import metadata

    from statekeep import registry

    broken = registry.Broken("gone", "statekeep-gone", ImportError("no module"))
    monkeypatch.setattr(registry.default_registry(), "broken", [broken])
    version = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "9.9" if name == "statekeep-redis" else version(name)
    )
    found = run("doctor", "--url", "memory:", "--json")
    said = [each for each in found.jsons if each["check"] == "plugin"]
    assert [each["severity"] for each in said] == ["advice", "advice"]
    assert "--force-reinstall statekeep-gone" in said[0]["remedy"]
    assert said[1]["remedy"] == f"pip install statekeep-redis=={statekeep.__version__}"
    assert found.code == 0


def test_a_store_that_fails_while_it_is_examined(run, monkeypatch) -> None:
    """What was found before stays, and the calls are tried still."""
    run("put", "key", "value")

    def examine(_: object) -> Iterator[Finding]:
        yield Finding("version", Severity.GOOD, "some")
        raise Unavailable("the line\nis cut")

    monkeypatch.setattr(SqliteBackend, "examine", examine)
    found = run("doctor", "--rounds", "1")
    assert found.code == 1
    assert any("PROBLEM answer" in line and "the line is cut" in line for line in found.lines)
    assert any("latency" in line for line in found.lines)


def test_a_store_that_hangs(run, monkeypatch) -> None:
    """Not for longer than it may: at the login nothing more is tried."""
    monkeypatch.setattr(SqliteBackend, "missing", lambda _: time.sleep(1) or ())
    monkeypatch.setattr(SqliteBackend, "examine", lambda _: time.sleep(1) or ())
    found = run("doctor", "--timeout", "50ms", "--json")
    said = [(each["check"], each["found"]) for each in found.jsons if each["severity"] == PROBLEM]
    assert said == [("login", "no answer within 0.05 s")]


def test_writes_that_fail_are_told(run, monkeypatch) -> None:
    """A store that answers reads, and whose disk is full."""
    run("put", "key", "value")

    def commit(*_: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(SqliteBackend, "commit", commit)
    found = run("doctor", "--json")
    (problem,) = [each for each in found.jsons if each["severity"] == PROBLEM]
    assert (problem["check"], "disk is full" in problem["found"]) == ("latency", True)
    assert "Unavailable" in problem["remedy"]


# The way to a server: a small one, that says what a test wants.


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def hello(connection: socket.socket, tls: ssl.SSLContext | None) -> Hailed:
    """A protocol in which the server begins with a word."""
    found = connection if tls is None else tls.wrap_socket(connection, server_hostname="localhost")
    said = found.recv(5)
    if said != b"hello":
        raise WrongProtocol(f"said {said!r}")
    return Hailed(found, offers_tls=False)


def reached(port: int, host: str = "127.0.0.1", seconds: float = 2, **more: Any) -> list[Finding]:
    server = Server(host=host, port=port, hail=more.pop("hail", hello), **more)
    found = list(reaching.reached(server, seconds))
    assert {each.check for each in found} <= set(reaching.CHECKS)
    assert all((each.severity is Severity.GOOD) != bool(each.meaning) for each in found)
    assert reaching.answers(found) == any(
        each.check == "protocol" and each.severity is Severity.GOOD for each in found
    )
    return found


def test_a_server_that_answers() -> None:
    """Port, protocol, and that nothing leaves this machine."""
    with listening(lambda connection: connection.sendall(b"hello")) as port:
        assert [each.check for each in reached(port)] == ["port", "protocol", "tls"]


def test_a_name_is_looked_up() -> None:
    """With its addresses; and a name of which nobody knows ends the way."""
    with listening(lambda connection: connection.sendall(b"hello")) as port:
        found = reached(port, host="localhost")
    assert (found[0].check, "127.0.0.1" in found[0].found) == ("name", True)
    (unknown,) = reached(1, host="no-such-host.invalid")
    assert (unknown.check, unknown.severity) == ("name", Severity.PROBLEM)
    (strange,) = reached(1, host="x" * 80)
    assert strange.check == "name"


def test_a_port_where_nothing_listens() -> None:
    """Refused: the machine is there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (found,) = reached(port)
    assert (found.check, "refuses" in found.found, "ss -ltnp" in found.remedy) == (
        "port", True, True,
    )  # fmt: skip


def test_a_port_that_swallows() -> None:
    """A queue that is full answers no more, as a firewall that drops does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        clients = [socket.socket() for _ in range(4)]
        for each in clients:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        time.sleep(0.05)
        (found,) = reached(port, seconds=0.2)
        for each in clients:
            each.close()
    assert (found.check, "firewall" in found.meaning) == ("port", True)


def test_a_server_that_says_nothing() -> None:
    """It accepts, as the kernel does for a process that is stopped."""
    with listening(lambda connection: time.sleep(0.5)) as port:
        found = reached(port, seconds=0.1)[-1]
    assert (found.check, "says nothing" in found.found) == ("protocol", True)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400", b""])
def test_a_server_of_another_kind(answer: bytes) -> None:
    """What it said, or that it hung up."""
    with listening(lambda connection: connection.sendall(answer)) as port:
        found = reached(port)[-1]
    assert (found.check, found.severity) == ("protocol", Severity.PROBLEM)
    assert "wants TLS" in found.meaning


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """Its path."""
    (found,) = reached(0, socket_path=str(tmp_path / "none"))
    assert (found.check, str(tmp_path) in found.found) == ("port", True)


def test_an_unencrypted_way_to_another_machine() -> None:
    """Advice, with the line that mends it; none where the name is this machine's."""
    way = {"host": ELSEWHERE, "verified_by": 'sslmode = "verify-full"'}
    with listening(lambda connection: connection.sendall(b"hello")) as port:
        found = reached(port, **way)[-1]
    assert (found.check, found.severity) == ("tls", Severity.ADVICE)
    assert found.remedy == 'sslmode = "verify-full"'
    with listening(lambda connection: connection.sendall(b"hello")) as port:
        found = reached(port, needs_tls=True)[-1]
    assert (found.severity, "offers no TLS" in found.found) == (Severity.PROBLEM, True)


def self_signed(folder: Path, days: int) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj", "/CN=x",
               "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key),
               "-out", str(cert)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@contextmanager
def secured(folder: Path, days: int) -> Iterator[tuple[int, Path]]:
    cert, key = self_signed(folder, days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def answer(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.sendall(b"hello")
        except OSError:
            pass  # the other side did not like it

    with listening(answer) as port:
        yield port, cert


@pytest.mark.parametrize(
    ("days", "severity"), [(400, Severity.GOOD), (10, Severity.ADVICE), (1, Severity.PROBLEM)]
)
def test_the_days_of_a_certificate(tmp_path: Path, days: int, severity: Severity) -> None:
    """Soon is advice, in a few days is a problem."""
    with secured(tmp_path, days) as (port, cert):
        trusting = ssl.create_default_context(cafile=cert)
        found = reached(port, tls=lambda: trusting)
    assert [each.check for each in found] == ["port", "protocol", "tls", "certificate"]
    assert (found[-1].severity, f"{days - 1} days" in found[-1].found) == (severity, True)


def test_a_certificate_that_nobody_verifies(tmp_path: Path) -> None:
    """Between machines that is advice; one of an unknown authority that is verified, a problem."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    with secured(tmp_path, 400) as (port, _):
        found = reached(port, host=ELSEWHERE, tls=lambda: trusting)
    assert "take the server's place" in found[-2].meaning
    strict = ssl.create_default_context()
    with secured(tmp_path, 400) as (port, _):
        found = reached(port, tls=lambda: strict)
    assert (found[-1].check, "self-signed" in found[-1].found) == ("certificate", True)


def test_a_port_without_tls_that_should_have_it(tmp_path: Path) -> None:
    """The handshake fails; a file that cannot be read is named."""
    with listening(lambda connection: connection.sendall(b"hello")) as port:
        found = reached(port, tls=ssl.create_default_context)[-1]
    assert (found.check, "openssl s_client" in found.remedy) == ("tls", True)

    def unreadable() -> None:
        raise statekeep.ConfigError("ssl_ca cannot be read")

    with listening(lambda connection: connection.sendall(b"hello")) as port:
        found = reached(port, tls=unreadable)[1]
    assert (found.check, "ssl_ca" in found.found) == ("tls", True)


def test_when_a_certificate_ends(tmp_path: Path) -> None:
    """As openssl says, also beyond 2050, when the form of the date is another one."""
    for days in (30, 20_000):
        cert, _ = self_signed(tmp_path, days)
        der = ssl.PEM_cert_to_DER_cert(cert.read_text())
        expected = datetime.now(UTC) + timedelta(days=days)
        assert abs(expiry(der) - expected) < timedelta(minutes=5)
    for wrong in (b"", b"\x30", b"\x30\x03\x02\x01\x00", b"\xff" * 40):
        with pytest.raises(ValueError, match="no X.509"):
            expiry(wrong)


def test_what_is_waited_for() -> None:
    """What comes in time is passed on, an exception too; what does not come is given up."""
    assert list(steps(lambda: [1, 2], 5)) == [1, 2]

    def fails() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    found = steps(fails, 5)
    assert next(found) == 1
    with pytest.raises(KeyError):
        next(found)
    with pytest.raises(TooSlow, match=r"within 0\.01 s"):
        within(lambda: time.sleep(0.3), 0.01)


def timing(operation: str, millis: float, busy: float) -> Timing:
    return Timing(operation, millis / 1000, busy / 1000)


@pytest.mark.parametrize(
    ("connections", "millis", "severity", "said"),
    [
        (10, 1.0, Severity.GOOD, "10 connections carry 10000 calls"),
        (2, 8.0, Severity.ADVICE, "2 connections carry 250 calls"),
        (None, 8.0, Severity.GOOD, "no bound"),
    ],
)
def test_littles_law(connections: int | None, millis: float, severity: Severity, said: str) -> None:
    """Calls a second are connections by seconds a call; a process makes as many as it has time."""
    timings = [timing("get", 1, 0.1), timing("transaction", millis, 0.5)]
    latency, pool = capacity.judged(timings, connections)
    assert (pool.severity, said in pool.found) == (severity, True)
    assert latency.severity is Severity.GOOD
    if severity is Severity.ADVICE:
        assert pool.remedy.startswith("maximum_pool_size = 16 ")


def test_a_store_that_is_far_away() -> None:
    """Reads of more than 10 ms; a store that may only be read is judged by them."""
    latency, pool = capacity.judged([timing("get", 40, 0.1)], 5)
    assert (latency.severity, "far away" in latency.meaning) == (Severity.ADVICE, True)
    assert "(get)" in pool.found


def test_the_names_of_checks_are_those_that_are_documented() -> None:
    """All of the command's own, each in one place."""
    names = [name for group in doctor.checks().values() for name in group]
    assert len(set(names)) == len(names)
    assert {"config", "name", "certificate", "latency", "queues"} <= set(names)
