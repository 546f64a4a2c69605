"""The endpoint: its port, its threads, several storages, and forks."""

from __future__ import annotations

import os
import socket
import threading
import urllib.error
from pathlib import Path

import pytest
import statekeep
from prometheus_client import CollectorRegistry, Counter
from statekeep import ConfigError, Storage, StorageError
from statekeep_prometheus import endpoint

from plugins.prometheus.tests.conftest import Open
from plugins.prometheus.tests.scraping import scraped
from tests.servers.ports import free_ports
from tests.servers.waiting import until

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def answers(port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_closing_frees_the_port_and_leaves_no_thread_and_no_metric(
    observed: Open, registry: CollectorRegistry
) -> None:
    """Also the counting thread's; and again it can be opened, and closed twice."""
    (port,) = free_ports()
    before = set(threading.enumerate())
    for _ in range(2):
        storage = observed(port=port, count_interval=1)
        assert scraped(port).series("storage_info")
        storage.close()
        storage.close()
        assert not answers(port)
        assert set(threading.enumerate()) <= before
        assert list(registry.collect()) == []


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(
    observed: Open, registry: CollectorRegistry
) -> None:
    """And nothing stays behind: no metric, no thread, no open file."""
    before = set(threading.enumerate())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StorageError, match=f"port: cannot listen on 127.0.0.1:{port}") as error:
            observed(port=port, count_interval=1)
    assert "set another port" in str(error.value)
    assert list(registry.collect()) == []
    assert set(threading.enumerate()) <= before
    assert observed(port=port).usage().calls == {}


def test_an_address_that_is_not_ours_is_an_error(observed: Open) -> None:
    """Of this machine, or at all."""
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(StorageError, match="look at host and port"):
            observed(host=host, port=free_ports()[0])


def test_storages_of_one_process_share_a_port_until_the_last_is_closed(observed: Open) -> None:
    """Whichever is closed first."""
    (port,) = free_ports()
    first, second = observed(port=port, name="a"), observed(port=port, name="b")
    assert scraped(port).labels("storage_info", "storage") == {"a", "b"}
    first.close()
    assert scraped(port).labels("storage_info", "storage") == {"b"}
    second.close()
    assert not answers(port)


def test_a_port_shows_one_registry(observed: Open) -> None:
    """A second one needs a port of its own, and the first goes on."""
    (port,) = free_ports()
    observed(port=port, name="a")
    with pytest.raises(StorageError, match="another registry"):
        observed(port=port, registry=CollectorRegistry())
    assert scraped(port).labels("storage_info", "storage") == {"a"}


def test_metrics_of_the_application_that_clash_are_an_error(
    observed: Open, registry: CollectorRegistry
) -> None:
    """Which names the metric."""
    Counter("statekeep_retries", "The application's own.", registry=registry)
    with pytest.raises(StorageError, match="statekeep_retries"):
        observed()


def test_without_a_port_the_metrics_are_in_the_registry_of_the_application(
    observed: Open, registry: CollectorRegistry
) -> None:
    """Beside its own."""
    Counter("orders", "The application's own.", registry=registry).inc()
    observed().ping()
    told = scraped(registry)
    assert told.samples["orders_total", frozenset()] == 1
    assert told.value("call_duration_seconds_count", operation="ping", storage="sqlite") == 1


def test_a_client_that_sends_nothing_does_not_keep_a_thread(
    observed: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after a while."""
    monkeypatch.setattr(endpoint, "SILENCE", 0.1)
    (port,) = free_ports()
    observed(port=port)
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port)):
        until((), lambda: threading.active_count() > before, "a thread for the client")
        until((), lambda: threading.active_count() == before, "the end of the thread")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"port": 0}, "observers.prometheus.port: must be from 1 to 65535, got 0"),
        ({"name": " "}, "observers.prometheus.name: must not be blank"),
        ({"count_interval": -1}, "observers.prometheus.count_interval: must be >= 0"),
        ({"registry": "REGISTRY"}, "which only code can give, got 'REGISTRY'"),
        ({"ports": 1}, "did you mean 'port'"),
    ],
)
def test_bad_options_are_named(observed: Open, options: dict[str, object], problem: str) -> None:
    """With their place, before anything is opened."""
    with pytest.raises(ConfigError) as error:
        observed(**options)
    assert problem in str(error.value)


@FORKS
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_leaves_the_port_to_its_parent(observed: Open, registry: CollectorRegistry) -> None:
    """It counts its own calls from zero, and nobody answers where the parent has closed."""
    (port,) = free_ports()
    storage = observed(port=port, count_interval=300)
    until((), lambda: scraped(port).series("records"), "the first count")
    storage.values.get("k")
    storage.values.get("k")
    reports, report = os.pipe()
    ends, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(report, _report_of_child(storage, registry))
        os.read(ends, 1)  # the parent has gone on
        storage.close()
        os._exit(0)
    try:
        assert os.read(reports, 100) == b"1 call, 0 counted"
        of = {"operation": "get", "storage": "sqlite"}
        assert scraped(port).value("call_duration_seconds_count", **of) == 2
        storage.close()
        assert not answers(port)
    finally:
        os.close(end)
        assert os.waitpid(child, 0)[1] == 0


def _report_of_child(storage: Storage, registry: CollectorRegistry) -> bytes:
    storage.values.get("k")
    told = scraped(registry)
    calls = told.value("call_duration_seconds_count", operation="get", storage="sqlite")
    return f"{calls:.0f} call, {len(told.series('records'))} counted".encode()


@FORKS
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_may_serve_on_a_port_of_its_own(tmp_path: Path) -> None:
    """As the workers of a server that forks do, opened after the fork."""
    ports = free_ports(2)
    config = {"sqlite": {"path": str(tmp_path / "state.db")}}
    ready, tell = os.pipe()
    ends, end = os.pipe()
    children = []
    for number, port in enumerate(ports):
        child = os.fork()
        if child == 0:
            os.close(end)
            with statekeep.open(config, observers={"prometheus": {"port": port}}) as storage:
                for _ in range(number + 1):
                    storage.values.get("k")
                os.write(tell, b".")
                os.read(ends, 1)
            os._exit(0)
        children.append(child)
    try:
        found = b""
        while len(found) < len(ports):
            found += os.read(ready, 1)
        of = {"operation": "get", "storage": "sqlite"}
        counts = [scraped(port).value("call_duration_seconds_count", **of) for port in ports]
        assert counts == [1, 2]
    finally:
        os.close(end)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(urllib.error.URLError):
        scraped(ports[0])


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_can_be_none_is_a_clear_error(host: str) -> None:
    """Not that of a codec."""
    observer = {"host": host, "port": 1, "registry": CollectorRegistry()}
    with pytest.raises(StorageError, match=r"cannot listen on .* look at host and port"):
        statekeep.open({"memory": {}, "observers": {"prometheus": observer}})
