"""Layers around calls that are started: they do what they do, once, when the call ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from statekeep import Closed, CorruptValue, Entry, OutcomeUnknown, Put, Transaction, Unavailable
from statekeep.compressor import Compressor
from statekeep.layers.caching import CachingLayer
from statekeep.layers.compression import CompressionLayer
from statekeep.layers.metrics import MetricsLayer
from statekeep.metrics import Recorder
from statekeep.model import Check, Committed, Conflict
from statekeep.pending import CallAgain, Pending
from statekeep_memory import MemoryCacheConfig
from statekeep_memory.backend import MemoryBackend
from statekeep_memory.cache import MemoryCache

from core.tests.mailbox import Letter, Mailbox, written

PUT = Transaction((Put("k", b"value"),))
STALE = Transaction((Check("k", 99), Put("l", b"")))


@pytest.fixture
def mailbox() -> Mailbox:
    mailbox = Mailbox()
    mailbox.inner.commit([PUT])
    mailbox.prompt = True
    return mailbox


def undelivered(mailbox: Mailbox, answer: BaseException) -> Letter:
    """The last letter, whose answer is this error."""
    letter = mailbox.letters[-1]
    letter.answer = answer
    return letter


# Metrics


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def metrics(mailbox: Mailbox, recorder: Recorder) -> MetricsLayer:
    return MetricsLayer(mailbox, recorder)


def counted(recorder: Recorder) -> dict[str, tuple[int, int, int, dict[str, int]]]:
    """Calls, records, bytes and errors of what was called."""
    return {
        name: (each.count, each.records, each.bytes_read + each.bytes_written, each.errors)
        for name, each in recorder.calls().items()
        if each.count or each.errors
    }


def test_a_started_read_is_counted_when_it_ends(metrics: MetricsLayer, recorder: Recorder) -> None:
    """As a `get` or a `get_many`, with its records and bytes; before, it is not."""
    one = metrics.start_get_many(("k",))
    several = metrics.start_get_many(("k", "absent"))
    assert one and several and counted(recorder) == {}
    one.receive()
    several.receive()
    assert counted(recorder) == {"get": (1, 1, 5, {}), "get_many": (1, 2, 5, {})}


def test_a_started_commit_is_counted_when_it_ends(
    metrics: MetricsLayer, recorder: Recorder
) -> None:
    """By what was committed; conflicts by their names."""
    for transactions in ([PUT], [PUT, STALE], [STALE]):
        pending = metrics.start_commit(transactions)
        assert pending is not None
        pending.receive()
    assert counted(recorder) == {
        "put": (1, 1, 5, {}),
        "batch": (1, 3, 5, {"VersionConflict": 1}),
        "transaction": (1, 2, 0, {"VersionConflict": 1}),
    }


def test_what_is_done_again_is_counted_then(
    metrics: MetricsLayer, mailbox: Mailbox, recorder: Recorder
) -> None:
    """`CallAgain`, what was abandoned, what was not started, and transactions that are left."""
    for start in (lambda: metrics.start_get_many(("k",)), lambda: metrics.start_commit([PUT])):
        pending: Any = start()
        undelivered(mailbox, CallAgain("so"))
        with pytest.raises(CallAgain):
            pending.receive()
        pending = start()
        pending.abandon()
        mailbox.starts = False
        assert start() is None
        mailbox.starts = True
    pending = metrics.start_commit([PUT, PUT])
    mailbox.letters[-1].answer = [None, None]
    assert pending.receive() == [None, None]
    assert counted(recorder) == {}
    pending = metrics.start_commit([PUT, STALE, PUT])
    mailbox.letters[-1].answer[1:] = [None, None]
    pending.receive()
    assert counted(recorder) == {"put": (1, 1, 5, {})}


def test_errors_of_started_calls_are_counted_by_name(
    metrics: MetricsLayer, mailbox: Mailbox, recorder: Recorder
) -> None:
    """Once each, also those that keep a call from being started."""
    starts: tuple[tuple[Callable[[], Any], Exception], ...] = (
        (lambda: metrics.start_get_many(("k",)), Unavailable("away")),
        (lambda: metrics.start_commit([PUT]), OutcomeUnknown("lost")),
    )
    for start, error in starts:
        mailbox.failing = Closed("closed")
        with pytest.raises(Closed):
            start()
        pending = start()
        undelivered(mailbox, error)
        with pytest.raises(type(error)):
            pending.receive()
    assert counted(recorder) == {
        "get": (2, 2, 0, {"Closed": 1, "Unavailable": 1}),
        "put": (2, 2, 10, {"Closed": 1, "OutcomeUnknown": 1}),
    }


# Compression


class Halving(Compressor):
    """Keeps half of a value that is the same twice."""

    @property
    def name(self) -> str:
        return "half"

    def compress(self, data: bytes) -> bytes:
        return data[: len(data) // 2]

    def decompress(self, data: bytes, size: int) -> bytes:
        return data * 2


def find(name: str) -> Compressor:
    assert name == "half"
    return Halving()


def compression(mailbox: Any, name: str = "", min_size: int = 100) -> CompressionLayer:
    return CompressionLayer(mailbox, find, name, min_size)


def test_started_calls_travel_in_envelopes() -> None:
    """What is stored is wrapped, and what is read is not; damage is told where it is received."""
    mailbox = Mailbox()
    mailbox.prompt = True
    layer = compression(mailbox)
    pending: Any = layer.start_commit([PUT])
    assert isinstance(pending.receive()[0], Committed)
    stored = mailbox.inner.get_many(("k",))["k"].value
    assert stored != b"value" and stored.endswith(b"value")
    pending = layer.start_get_many(("k",))
    assert pending.receive()["k"].value == b"value"
    mailbox.inner.commit([Transaction((Put("k", stored[:-1] + b"?"),))])
    pending = layer.start_get_many(("k",))
    with pytest.raises(CorruptValue, match="'k'"):
        pending.receive()


def test_what_would_be_compressed_is_left_to_threads() -> None:
    """Values of the least size and more, in any transaction of a batch."""
    mailbox = Mailbox()
    layer = compression(mailbox, "half")
    large = Transaction((Put("l", b"x" * 100),))
    assert layer.start_commit([PUT, large]) is None
    assert mailbox.letters == [] and written(layer) == (0, 0)
    small = layer.start_commit([PUT])
    assert small is not None
    small.abandon()


def test_bytes_are_counted_once_however_a_commit_came_about() -> None:
    """Not started, to be called again, or left in part: the commit that follows counts them."""
    mailbox = Mailbox()
    layer = compression(mailbox)
    mailbox.starts = False
    assert layer.start_commit([PUT]) is None
    assert written(layer) == (0, 0)
    mailbox.starts = mailbox.prompt = True
    pending: Any = layer.start_commit([PUT])
    undelivered(mailbox, CallAgain("so"))
    with pytest.raises(CallAgain):
        pending.receive()
    assert written(layer) == (0, 0)
    pending = layer.start_commit([PUT, PUT])
    mailbox.letters[-1].answer[0] = None
    pending.receive()
    plain, stored = written(layer)
    assert plain == 5 < stored
    layer.commit([PUT])
    assert written(layer) == (2 * plain, 2 * stored)


def test_nothing_is_wrapped_in_vain() -> None:
    """A backend without started commits is not asked for one."""
    layer = compression(MemoryBackend())
    assert layer.start_commit([PUT]) is None
    assert written(layer) == (0, 0)


# The cache


def caching(mailbox: Mailbox) -> CachingLayer:
    return CachingLayer(mailbox, MemoryCache(MemoryCacheConfig(maximum_size=10)), None)


def test_a_started_read_fills_the_cache_and_asks_for_what_is_missing(mailbox: Mailbox) -> None:
    """What is there is not asked for; the answer has both."""
    layer = caching(mailbox)
    layer.get_many(("k",))
    mailbox.inner.commit([Transaction((Put("l", b"2"),))])
    pending = layer.start_get_many(("k", "l", "absent"))
    assert pending is not None
    assert mailbox.letters[-1].keys == ["l", "absent"]
    found = pending.receive()
    assert found is not None and {key: each.value for key, each in found.items()} == {
        "k": b"value",
        "l": b"2",
    }
    assert layer.peek(("k", "l")) == found
    assert layer.start_get_many(("k", "l")) is None


def test_a_started_read_counts_hits_and_misses_as_any_read(mailbox: Mailbox) -> None:
    """Once it is answered; a read that a thread repeats counts for itself."""
    layer = caching(mailbox)
    layer.get_many(("k",))

    def counters() -> tuple[int, int]:
        stats = layer.usage().caches["key_value"]
        return stats.hits, stats.misses

    assert counters() == (0, 1)
    pending: Any = layer.start_get_many(("k", "absent"))
    undelivered(mailbox, CallAgain("so"))
    with pytest.raises(CallAgain):
        pending.receive()
    assert counters() == (0, 1)
    pending = layer.start_get_many(("k", "absent"))
    pending.receive()
    assert counters() == (1, 2)


@pytest.mark.parametrize("writing", ["commit", "start_commit"])
def test_a_started_read_never_puts_an_older_value_back(mailbox: Mailbox, writing: str) -> None:
    """A write that comes between its begin and its end, in either way."""
    layer = caching(mailbox)
    read = layer.start_get_many(("k",))
    assert read is not None
    write = getattr(layer, writing)([Transaction((Put("k", b"new"),))])
    if isinstance(write, Pending):
        write.receive()
    old = read.receive()
    assert old is not None and old["k"].value == b"value"
    assert layer.peek(("k",)) is None
    assert layer.get_many(("k",))["k"].value == b"new"


@pytest.mark.parametrize("end", ["answer", "conflict", "unknown", "again", "abandoned", "none"])
def test_a_started_commit_drops_what_it_writes(mailbox: Mailbox, end: str) -> None:
    """At its begin and at its end, whichever that is: what was read meanwhile may be old."""
    layer = caching(mailbox)
    layer.get_many(("k",))
    if end == "none":
        mailbox.starts = False
        assert layer.start_commit([PUT]) is None
        assert layer.peek(("k",)) is None
        return
    pending: Any = layer.start_commit([PUT])
    assert layer.peek(("k",)) is None
    layer.get_many(("k",))
    letter = mailbox.letters[-1]
    if end == "abandoned":
        pending.abandon()
    else:
        errors = {"unknown": OutcomeUnknown("lost"), "again": CallAgain("so")}
        letter.answer = errors.get(end) or [
            Conflict({"k": 7}) if end == "conflict" else letter.answer[0]
        ]
        try:
            pending.receive()
        except (OutcomeUnknown, CallAgain) as error:
            assert error is letter.answer
    assert layer.peek(("k",)) is None


def test_without_a_cache_of_values_nothing_changes(mailbox: Mailbox) -> None:
    """The calls are those of the backend inside."""
    layer = CachingLayer(mailbox, None, None)
    pending = layer.start_get_many(("k",))
    assert pending is mailbox.letters[0]
    entry = pending.receive()
    assert isinstance(entry, dict) and isinstance(entry["k"], Entry)
