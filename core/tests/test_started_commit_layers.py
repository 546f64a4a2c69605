"""Layers around a started commit that is left in part, abandoned or failed: numbers stay true."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from statekeep import OutcomeUnknown, Put, Transaction, Unavailable
from statekeep.aio import AsyncStorage
from statekeep.backend import Backend
from statekeep.clock import from_micros
from statekeep.layers.caching import CachingLayer
from statekeep.layers.compression import CompressionLayer
from statekeep.layers.metrics import MetricsLayer
from statekeep.layers.observing import ObservingLayer
from statekeep.metrics import TASK_WRITE, Recorder
from statekeep.model import (
    Acknowledge,
    Conflict,
    Delete,
    Entry,
    Failed,
    KeyValueRecord,
    Operation,
    Restore,
    Schedule,
)
from statekeep.pending import CallAgain, Finishing
from statekeep_memory import MemoryCacheConfig
from statekeep_memory.cache import MemoryCache

from core.tests.gated import on_loop
from core.tests.mailbox import Letter, Mailbox, written
from core.tests.test_observing import Spy, SpyConfig

PUT = Transaction((Put("k", b"value"),))


def composed(inner: Backend, recorder: Recorder) -> Backend:
    """The layers as a storage has them."""
    cache = MemoryCache(MemoryCacheConfig(maximum_size=100))
    compression = CompressionLayer(inner, lambda name: pytest.fail(name), "", 0)
    return MetricsLayer(CachingLayer(compression, cache, None), recorder)


# The end of a pending call


def test_a_layer_is_told_of_one_end() -> None:
    """Of the answer, the error or the abandonment, whichever comes first."""
    told: list[object] = []

    def answered(answer: list[object]) -> list[object]:
        told.append(answer)
        return answer

    for answer in ([None], Unavailable("away"), KeyboardInterrupt(), CallAgain("so"), None):
        told.clear()
        letter = Letter([], answer, 60.0)
        pending: Finishing[Any] = Finishing(letter, answered, told.append)
        assert pending.receive() is None and told == []
        if answer is not None:
            letter.deliver()
            try:
                assert pending.receive() == answer
            except (Unavailable, KeyboardInterrupt, CallAgain) as error:
                assert error is answer
        for _ in range(2):
            pending.abandon()
        assert len(told) == 1
        assert told == [answer] if answer is not None else isinstance(told[0], CallAgain)


def test_bytes_stay_counted_when_an_answered_commit_is_abandoned() -> None:
    """They were written; and what is abandoned twice is taken off once."""
    mailbox = Mailbox()
    layer = composed(mailbox, Recorder())
    first = layer.start_commit([PUT])
    assert first is not None
    mailbox.letters[-1].deliver()
    first.receive()
    counted = written(layer)
    assert counted[0] == 5
    first.abandon()
    assert written(layer) == counted
    second = layer.start_commit([PUT])
    assert second is not None
    second.abandon()
    second.abandon()
    assert written(layer) == counted


# What was left


NOW = from_micros(2_000_000_000_000_000)
RECORD = KeyValueRecord("k", Entry(b"12345", 7))


@pytest.mark.parametrize(
    "operation",
    [
        Put("k", b"12345"),
        Schedule("queue", "id", timedelta(0), b"12345"),
        Restore(RECORD),
        Delete("k"),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_bytes_of_whatever_was_left_are_taken_off(operation: Operation) -> None:
    """Exactly what was added, for every operation that has a value."""
    mailbox = Mailbox()
    layer = composed(mailbox, Recorder())
    mailbox.prompt = True
    for answer in ([None, None], CallAgain("so")):
        pending = layer.start_commit([Transaction((operation,)), Transaction((Put("l", b"1"),))])
        assert pending is not None
        mailbox.letters[-1].answer = answer
        with suppress(CallAgain):
            assert pending.receive() == answer
        assert written(layer) == (0, 0)


def test_failed_outcomes_and_lost_leases_are_counted_by_name() -> None:
    """Of a batch each by itself; what is left is no error."""
    mailbox, recorder = Mailbox(), Recorder()
    layer = composed(mailbox, recorder)
    mailbox.prompt = True
    token = Transaction((Acknowledge("queue", "id", "token"),))
    pending = layer.start_commit([PUT, PUT, token, PUT])
    assert pending is not None
    failures = [Failed(OutcomeUnknown("lost")), Failed(Unavailable("full"))]
    mailbox.letters[-1].answer = [*failures, Conflict({}, (("queue", "id"),)), None]
    pending.receive()
    calls = {name: each for name, each in recorder.calls().items() if each.count}
    assert set(calls) == {"batch"} and calls["batch"].records == 3
    assert calls["batch"].errors == {"OutcomeUnknown": 1, "Unavailable": 1, "LeaseLost": 1}


# In an event loop


class Reluctant(Mailbox):
    """Starts commits and leaves some to be committed; what it leaves it does not apply.

    Attributes:
        way: how much it leaves: `nothing`, `some`, `all`, `again` (by an error) or `unstarted`.
    """

    way = "nothing"

    def start_commit(self, transactions: Any) -> Any:
        if self.way == "unstarted":
            return None
        left = {"nothing": 0, "some": len(transactions) // 2}.get(self.way, len(transactions))
        done = self.inner.commit(transactions[left:])
        answer: Any = [*[None] * left, *done] if self.way != "again" else CallAgain("so")
        letter = Letter([], answer, self.seconds)
        self.letters.append(letter)
        letter.deliver()
        return letter


@pytest.mark.parametrize("way", ["nothing", "some", "all", "again", "unstarted"])
@on_loop
async def test_every_write_is_counted_once_however_it_went(way: str) -> None:
    """Ten puts are ten puts of fifty bytes; each was waited for once; no cached value is old."""
    backend, recorder = Reluctant(), Recorder()
    backend.prompt = True
    keys = [f"k{number}" for number in range(10)]
    async with AsyncStorage(composed(backend, recorder), recorder) as storage:
        await storage.values.put_many(dict.fromkeys(keys, b"12345"))
        await storage.values.get_many(keys)
        before, counted = recorder.calls(), (await storage.stats()).compression
        backend.way = way
        versions = await asyncio.gather(*(storage.values.put(key, b"67890") for key in keys))
        found = await storage.values.get_many(keys)
        after, now = recorder.calls(), (await storage.stats()).compression
    assert {key: entry.value for key, entry in found.items()} == dict.fromkeys(keys, b"67890")
    assert [found[key].version for key in keys] == versions
    assert counted and now and now.written - counted.written == 50
    assert not {"put", "batch"} & set(before)
    added = [each for name, each in after.items() if name in ("put", "batch")]
    assert sum(each.bytes_written for each in added) == 50
    assert sum(each.records for each in added) == 10
    assert after[TASK_WRITE].count - before[TASK_WRITE].count == 10
    assert {name for name, each in after.items() if each.errors} == set()


@on_loop
async def test_observers_are_told_of_each_commit_once() -> None:
    """In a thread, as they are told of calls; nothing is started besides."""
    mailbox, spy = Mailbox(), Spy(SpyConfig())
    layer = ObservingLayer(composed(mailbox, Recorder()), (spy,), "memory")
    async with AsyncStorage(layer) as storage:
        await storage.values.put("k", b"1")
        await asyncio.gather(*(storage.values.put(f"k{n}", b"1") for n in range(5)))
    told = [note[1][1:4] for note in spy.notes if note[1][0] == "ended"]
    assert told == [("put", 1, None), ("batch", 5, None)]
    assert mailbox.letters == [] and len(mailbox.blocking) == 2
