"""`top`: figures from samples, metrics from processes, and a store that stops answering."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from rich.console import Console
from statekeep import BackendStats, KindStats, RecordKind, Unavailable
from statekeep.backend import Backend
from statekeep.census import QueueDepth
from statekeep.cli.top.exposition import Exported, added_up, fetch, parsed
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


def sample(at: float, exported: Exported, bytes: int | None = None, **other: object) -> Sample:
    counted = Counted()
    if bytes is not None:
        kinds = {RecordKind.KEY_VALUE: KindStats(records=2, bytes=bytes)}
        depth = QueueDepth("mail", 3, 1, 1, 10, timedelta(seconds=90))
        counted = Counted(BackendStats(kinds=kinds, stored_bytes=4096), [depth], at)
    time = datetime(2026, 1, 1, tzinfo=UTC)
    made: dict[str, object] = {"ping": 0.0002, "get": 0.0003, **other}
    return Sample(at=at, time=time, counted=counted, exported=exported, **made)  # type: ignore[arg-type]


def test_rates_and_quantiles_are_of_what_came_between_two_looks() -> None:
    """Of several processes together; within a bucket times are evenly spread."""
    history = History()
    history.take(sample(10.0, added_up([exposition(1000)] * 2)), None)
    figures = history.take(
        sample(12.0, added_up([exposition(1100, slow=3, failed=4, hits=75)] * 2)), None
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
    history.take(sample(10.0, added_up([exposition(1000)])), None)
    figures = history.take(sample(12.0, added_up([exposition(10)])), None)
    assert figures.calls["get"].rate == 5.0


def test_growth_is_reckoned_from_the_first_count() -> None:
    """None before there are two."""
    history = History()
    first = sample(10.0, Exported(), bytes=1000)
    assert history.take(first, first.counted).kinds["key_value"].growth is None
    later = sample(20.0, Exported(), bytes=6000)
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
    history.take(sample(10.0, added_up([exposition(1000)]), bytes=1000), None)
    last = sample(12.0, added_up([exposition(1200)]), bytes=2000, errors=("x: \x1b gone",))
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
    figures = history.take(sample(10.0, added_up([]), asked=asked, errors=errors), None)
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


def test_a_page_that_is_no_exposition_says_what_to_mend() -> None:
    """Another page, an error, an address that is none."""
    with (
        serving(lambda: (200, "<html>")) as url,
        pytest.raises(Unavailable, match=r"storage\.observers\.prometheus"),
    ):
        fetch(url)
    with serving(lambda: (404, "")) as url, pytest.raises(Unavailable, match="Not Found"):
        fetch(url)
    with pytest.raises(Unavailable, match="nonsense"):
        fetch("nonsense")


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
