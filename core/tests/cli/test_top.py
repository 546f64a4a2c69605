"""`top`: figures from samples, metrics from processes, and a store that stops answering."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from rich.console import Console
from statekeep import BackendStats, KindStats, RecordKind, Unavailable
from statekeep.backend import Backend
from statekeep.census import QueueDepth
from statekeep.cli.top.exposition import Exported, exported, fetch, parsed
from statekeep.cli.top.figures import History, amount, as_json, duration, size, sparkline
from statekeep.cli.top.samples import Counted, Counting, Sample, Sampler
from statekeep.cli.top.view import screen
from statekeep.layers.base import Layer
from statekeep_memory.backend import MemoryBackend


def exposition(gets: int, slow: int = 0, failed: int = 0, hits: int = 0) -> str:
    """What a process exports that made so many calls, some of them slow."""
    return f"""# HELP statekeep_call_duration_seconds How long calls took.
# TYPE statekeep_call_duration_seconds histogram
statekeep_call_duration_seconds_bucket{{storage="a",operation="get",le="0.001"}} {gets - slow}.0
statekeep_call_duration_seconds_bucket{{storage="a",operation="get",le="0.512"}} {gets}.0
statekeep_call_duration_seconds_bucket{{storage="a",operation="get",le="+Inf"}} {gets}.0
statekeep_call_duration_seconds_count{{storage="a",operation="get"}} {gets}.0
statekeep_errors_total{{storage="a",operation="get",error="Unavailable"}} {failed}.0
statekeep_conflicts_total{{storage="a",operation="get",condition="version"}} 0.0
statekeep_pool_connections{{storage="a",state="in_use"}} 3.0
statekeep_pool_connections{{storage="a",state="idle"}} 1.0
statekeep_pool_waiting{{storage="a"}} 2.0
statekeep_pool_limit{{storage="a"}} 10.0
statekeep_cache_hits_total{{storage="a",kind="key_value"}} {hits}.0
statekeep_cache_misses_total{{storage="a",kind="key_value"}} {gets - hits}.0
statekeep_value_bytes_total{{storage="a",direction="written",form="plain"}} 3000.0
statekeep_value_bytes_total{{storage="a",direction="written",form="stored"}} 1000.0
statekeep_retries_total{{storage="a"}} 4.0
python_info{{version="3"}} 1.0
"""


def processes(*texts: str) -> dict[str, Exported]:
    """What processes export, by their addresses."""
    return {f"http://{number}": exported(text) for number, text in enumerate(texts)}


def sample(
    at: float, processes: dict[str, Exported], bytes: int | None = None, **other: object
) -> Sample:
    counted = Counted()
    if bytes is not None:
        kinds = {RecordKind.KEY_VALUE: KindStats(records=2, bytes=bytes)}
        depth = QueueDepth("mail", 3, 1, 1, 10, timedelta(seconds=90))
        counted = Counted(BackendStats(kinds=kinds, stored_bytes=4096), [depth], at)
    time = datetime(2026, 1, 1, tzinfo=UTC)
    made: dict[str, object] = {"ping": 0.0002, "get": 0.0003, **other}
    return Sample(at=at, time=time, counted=counted, processes=processes, **made)  # type: ignore[arg-type]


def test_rates_and_quantiles_are_of_what_came_between_two_looks() -> None:
    """Of several processes together; within a bucket times are evenly spread."""
    history = History()
    history.take(sample(10.0, processes(*[exposition(1000)] * 2)), None)
    figures = history.take(
        sample(12.0, processes(*[exposition(1100, slow=3, failed=4, hits=75)] * 2)), None
    )
    get = figures.calls["get"]
    assert (get.rate, get.failed, get.conflicts) == (100.0, 4.0, 0.0)
    assert (get.p50, get.p95) == (
        pytest.approx(0.001 * 100 / 194),
        pytest.approx(0.001 * 190 / 194),
    )
    assert get.p99 == pytest.approx(0.001 + 0.511 * 4 / 6)
    assert figures.hit_rates == {"key_value": pytest.approx(0.75)}
    assert figures.compression == 3.0
    assert figures.retries == 0.0
    assert figures.sample.exported.get("pool_connections", "in_use") == 6.0


def test_a_process_that_began_anew_counts_from_zero() -> None:
    """And never backwards."""
    history = History()
    history.take(sample(10.0, processes(exposition(1000))), None)
    figures = history.take(sample(12.0, processes(exposition(10))), None)
    assert figures.calls["get"].rate == 5.0


def test_a_process_tells_nothing_of_the_others() -> None:
    """One that does not answer for a while, or begins anew, is no burst of calls of the rest."""
    history, busy = History(), exposition(1_000_000)
    history.take(sample(0.0, processes(exposition(100), busy)), None)
    looks = [
        processes(exposition(110)),
        processes(exposition(120), exposition(1_000_010)),
        processes(exposition(130), exposition(1_000_020)),
        processes(exposition(5), exposition(1_000_030)),
    ]
    rates = [
        history.take(sample(at, look), None).calls["get"].rate
        for at, look in enumerate(looks, start=1)
    ]
    assert rates == [10.0, 10.0, 20.0, 15.0]


@pytest.mark.parametrize("value", ["NaN", "-5", "+Inf", "1e308", "1e18"])
def test_numbers_that_make_no_sense_are_no_end(value: str) -> None:
    """Nor are buckets without a bound, or labels that nobody knows."""
    bucket = "statekeep_call_duration_seconds_bucket"
    hostile = (
        f'{bucket}{{operation="get",le="1"}} {value}\n{bucket}{{operation="get"}} 1\n'
        f'{bucket}{{operation="\x1b[2Jput",le="NaN"}} 1\n{bucket}{{operation="a",le="b"}} 1\n'
        f'{bucket}{{operation="\x1b[2Jget",le="+Inf"}} 1\n'
        f'statekeep_task_wait_seconds_bucket{{le="+Inf"}} {value}\n'
        f'statekeep_cache_hits_total{{kind="key_value"}} {value}\nstatekeep_retries_total {value}\n'
    )
    history = History()
    for at in (1.0, 2.0):
        figures = history.take(sample(at, processes(hostile, exposition(int(at)))), None)
    console = Console(width=100, file=StringIO(), force_terminal=True)
    console.print(screen("x", figures, history))
    assert "[2J" in console.file.getvalue() and "\x1b[2J" not in console.file.getvalue()
    assert as_json(figures)["calls"]["get"]["rate"] >= 1.0


def test_labels_without_an_end_take_no_time() -> None:
    """Reading them takes as many steps as they are long."""
    assert list(parsed(f"statekeep_x{{{'a' * 4_000_000}}} 1\n")) == [("x", {}, 1.0)]


def test_growth_is_reckoned_from_the_first_count() -> None:
    """None before there are two."""
    history = History()
    first = sample(10.0, {}, bytes=1000)
    assert history.take(first, first.counted).kinds["key_value"].growth is None
    later = sample(20.0, {}, bytes=6000)
    assert history.take(later, first.counted).kinds["key_value"].growth == 500.0


def test_labels_may_hold_anything() -> None:
    """Quotes, backslashes, braces, line ends; what is not ours or broken is passed over."""
    text = (
        'statekeep_x{storage="a\\"}\\\\,\\n",kind="b"} 1e3 1700000000\n'
        "other 1\nstatekeep_y nonsense\nstatekeep_z 2\n"
    )
    assert list(parsed(text)) == [
        ("x", {"storage": 'a"}\\,\n', "kind": "b"}, 1000.0),
        ("z", {}, 2.0),
    ]


def test_the_screen_has_every_figure() -> None:
    """As text of any width, with what does not answer in it."""
    history = History()
    history.take(sample(10.0, processes(exposition(1000)), bytes=1000), None)
    last = sample(12.0, processes(exposition(1200)), bytes=2000, errors=("x: \x1b gone",))
    figures = history.take(last, None)
    console = Console(width=100, record=True, file=StringIO())
    console.print(screen("sqlite state.db", figures, history))
    text = console.export_text()
    for part in ("sqlite state.db", "200 µs", "key_value", "4 KiB", "mail", "90 s", "get", "100"):
        assert part in text, part
    assert "3 in use, 1 idle, 2 wait (of 10)" in text and "compression 3.00x" in text
    assert r"x: \x1b gone" in text
    assert as_json(figures)["calls"]["get"]["rate"] == 100.0


@pytest.mark.parametrize(("asked", "advised"), [(0, True), (1, False)])
def test_only_who_asked_no_process_is_told_how_to(asked: int, advised: bool) -> None:
    """Where one was asked and did not answer, that is what there is to say."""
    history = History()
    errors = ("http://localhost:9464/metrics: refused",) * asked
    figures = history.take(sample(10.0, {}, asked=asked, errors=errors), None)
    console = Console(width=100, record=True, file=StringIO())
    console.print(screen("sqlite state.db", figures, history))
    text = console.export_text()
    assert ("give --metrics URL" in text) is advised
    assert ("refused" in text) is not advised


@contextmanager
def serving(answer: Callable[[], tuple[int, str]]) -> Iterator[str]:
    """A process that exports, over real HTTP."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, text = answer()
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_what_a_process_serves_is_shown(run) -> None:
    """As JSON, one object a look; a process that does not answer is said, and the others count."""
    run("put", "k", "v")
    with serving(lambda: (200, exposition(50))) as url:
        gone = "http://127.0.0.1:1/metrics"
        done = run(
            *("top", "--metrics", url, "--metrics", gone, "--rounds", "2", "--interval", "0.1"),
            "--json",
        )
    first, second = done.jsons
    assert first["processes"] == second["processes"] == 1
    assert second["kinds"]["key_value"]["records"] == 1
    assert second["pool"] == {"in_use": 3.0, "idle": 1.0, "waiting": 2.0, "limit": 10.0}
    (error,) = second["errors"]
    assert error.startswith(gone)
    assert second["ping"] > 0 and second["get"] > 0


def test_looks_that_take_longer_than_the_interval_go_on(run) -> None:
    """As they do where the store or a process is slow to answer, or does not."""
    run("put", "k", "v")

    def slow() -> tuple[int, str]:
        time.sleep(0.15)
        return 200, exposition(50)

    with serving(slow) as url:
        done = run("top", "--metrics", url, "--rounds", "3", "--interval", "0.1", "--json")
    assert [each["processes"] for each in done.jsons] == [1, 1, 1]


def test_a_page_that_is_no_exposition_says_what_to_mend() -> None:
    """Another page, an error, an address that is none."""
    with (
        serving(lambda: (200, "<html>")) as url,
        pytest.raises(Unavailable, match=r"storage\.observers\.prometheus"),
    ):
        fetch(url)
    with serving(lambda: (404, "")) as url, pytest.raises(Unavailable, match="Not Found"):
        fetch(url)
    for address in ("nonsense", "file:///etc/hostname", "http://h:port/", "http://h/a b"):
        with pytest.raises(Unavailable, match=address):
            fetch(address)
    with pytest.raises(Unavailable) as caught:
        fetch("http://me:secret@127.0.0.1:1/")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "first", [b"", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n"]
)
def test_an_answer_that_drips_has_an_end(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """A byte now and then, in the head or the body, holds nobody up."""
    monkeypatch.setattr("statekeep.cli.top.exposition.PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with suppress(OSError), server.accept()[0] as client:
                client.sendall(first)
                while True:
                    client.sendall(b"s")
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(Unavailable, match="http://127.0.0.1"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/")
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "answer", [b"\x00\xff" * 99, b"", b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n"]
)
def test_what_is_no_answer_is_said(answer: bytes) -> None:
    """Binary, nothing, a redirect."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client:
                client.recv(4096)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unavailable, match="http://127.0.0.1"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join(20)


class Leaving(Layer):
    """A store that goes away."""

    gone = False

    def ping(self) -> None:
        if self.gone:
            raise Unavailable("the store went away")

    def stats(self) -> BackendStats:
        self.ping()
        return self.inner.stats()


def test_a_store_that_does_not_answer_is_said_and_asked_again() -> None:
    """The last count stays in view."""
    backend: Backend = Leaving(MemoryBackend())
    counting = Counting(backend, 0.001)
    sampler = Sampler(backend, (), counting)
    counting.start()
    try:
        counting.wait()
        assert sampler.sample().ping is not None
        Leaving.gone = True
        found = sampler.sample()
        assert found.ping is None and found.get is None
        assert found.errors[0] == "the store went away"
        assert found.counted.stats is not None
        Leaving.gone = False
        assert sampler.sample().ping is not None
    finally:
        Leaving.gone = False
        counting.stop()


class Broken(Layer):
    """A store that fails as no store should."""

    def stats(self) -> BackendStats:
        raise ZeroDivisionError


def test_a_count_that_fails_in_an_odd_way_is_said() -> None:
    """Nobody waits for it, and the next one is tried."""
    backend = Broken(MemoryBackend())
    counting = Counting(backend, 0.001)
    waiting = threading.Thread(target=counting.wait, daemon=True)
    waiting.start()
    counting.start()
    try:
        waiting.join(20)
        assert not waiting.is_alive()
        assert Sampler(backend, (), counting).sample().errors == ("counting: ZeroDivisionError",)
    finally:
        counting.stop()


def test_numbers_as_people_read_them() -> None:
    """Units that suit, and nothing for nothing."""
    assert [duration(each) for each in (None, 2e-7, 0.0015, 3.0)] == [
        "-",
        "0.2 µs",
        "1.5 ms",
        "3 s",
    ]
    assert [amount(each) for each in (None, 3, 0.25, 1234.5)] == ["-", "3", "0.25", "1,234"]
    assert [size(each) for each in (None, 0, 1023, 1024, -(5 * 2**30))] == [
        *("-", "0 B", "1023 B", "1 KiB", "-5 GiB")
    ]
    assert sparkline([0, 1, 2, 4], 3) == "▃▅█"
    assert sparkline([0, 0], 9) == "▁▁" and sparkline([], 9) == ""
