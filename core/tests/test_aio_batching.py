"""Natural batching: what travels together, in which order, and whose error is whose."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from statekeep import (
    CorruptValue,
    InvalidArgument,
    OutcomeUnknown,
    Storage,
    Unavailable,
    VersionConflict,
)
from statekeep.aio import AsyncStorage, session
from statekeep.combining import calls
from statekeep.layers.caching import CachingLayer
from statekeep_memory import MemoryCacheConfig
from statekeep_memory.backend import MemoryBackend
from statekeep_memory.cache import MemoryCache

from core.tests.gated import Gated, eventually, no_thread_left, on_loop

KEYS = [f"k{number}" for number in range(20)]


@asynccontextmanager
async def held(
    *, hold: bool = True, late: float = 60.0
) -> AsyncIterator[tuple[AsyncStorage, Gated]]:
    """A storage whose backend has every key of KEYS, and is held; late only where asked for."""
    gate = Gated()
    Storage(gate).values.put_many({key: key.encode() for key in KEYS})
    gate.calls.clear()
    if hold:
        gate.hold()
    with no_thread_left(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(calls, "LATE_SECONDS", late)
        async with AsyncStorage(gate) as storage:
            try:
                yield storage, gate
            finally:
                gate.release()


def task(awaitable):  # type: ignore[no-untyped-def]
    return asyncio.ensure_future(awaitable)


@on_loop
async def test_an_idle_store_is_called_at_once() -> None:
    """No waiting window: a single call leaves alone, and so does the next one."""
    async with held() as (storage, gate):
        first = task(storage.values.get("k0"))
        await eventually(lambda: gate.of("read") == [["k0"]])
        second = task(storage.values.get("k1"))
        await eventually(lambda: gate.of("read") == [["k0"], ["k1"]])
        gate.release()
        assert [(await each).value for each in (first, second)] == [b"k0", b"k1"]


@on_loop
async def test_reads_that_meet_travel_together() -> None:
    """What begins in one turn of the loop is one read; each caller gets its own keys."""
    async with held(hold=False) as (storage, gate):
        reads = [storage.values.get(key) for key in KEYS]
        several = storage.values.get_many(["k3", "k4", "missing"])
        *found, mapping = await asyncio.gather(*reads, several)
        assert [entry.value for entry in found] == [key.encode() for key in KEYS]
        assert set(mapping) == {"k3", "k4"}
        (keys,) = gate.of("read")
        assert sorted(keys) == sorted([*KEYS, "missing"])  # each once


@on_loop
async def test_what_comes_while_calls_are_under_way_travels_next() -> None:
    """Reads of one key share one; a read never joins one that is already under way."""
    async with held() as (storage, gate):
        under_way = [task(storage.values.get("k0"))]
        await eventually(lambda: len(gate.calls) == 1)
        under_way.append(task(storage.values.get("k0")))
        await eventually(lambda: len(gate.calls) == 2)  # another one of its own
        later = [task(storage.values.get(key)) for key in ("k0", "k0", "k1")]
        await asyncio.sleep(0)
        assert gate.of("read") == [["k0"], ["k0"]]
        gate.release()
        await asyncio.gather(*under_way, *later)
        assert gate.of("read")[2:] == [["k0", "k1"]]


@on_loop
async def test_a_read_after_a_write_by_the_same_task_sees_it() -> None:
    """Also where another task's read of the key is under way, or queued, before the write."""
    async with held(hold=False) as (storage, gate):
        chance = random.Random(3)

        async def one(number: int) -> None:
            key = f"k{number % 5}/{number}"
            for each in range(30):
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                version = await storage.values.put(key, b"%d" % each)
                entry = await storage.values.get(key)
                assert entry is not None and (entry.value, entry.version) == (b"%d" % each, version)

        async def noise() -> None:
            for _ in range(300):
                await storage.values.get(f"k{chance.randrange(5)}/{chance.randrange(20)}")

        await asyncio.gather(*(one(number) for number in range(20)), noise(), noise())
        assert len(gate.of("read")) < 20 * 30


@on_loop
async def test_writes_that_meet_are_one_commit_of_several_transactions() -> None:
    """Each is atomic by itself: a conflict of one leaves the others alone."""
    async with held(hold=False) as (storage, gate):
        entry = await storage.values.get("k0")
        assert entry is not None
        puts = [storage.values.put(key, b"new", expected=0) for key in ("a", "k0", "b")]
        a, conflict, b = await asyncio.gather(*puts, return_exceptions=True)
        assert isinstance(a, int) and isinstance(b, int)
        assert isinstance(conflict, VersionConflict)
        assert conflict.current == {"k0": entry.version}
        assert gate.of("write") == [["a", "k0", "b"]]


@on_loop
async def test_transactions_keep_their_order_in_a_commit() -> None:
    """They are applied in the order in which they were asked for."""
    async with held(hold=False) as (storage, _):
        versions = await asyncio.gather(*(storage.values.put("k", b"%d" % n) for n in range(50)))
        assert versions == sorted(versions)
        entry = await storage.values.get("k")
        assert entry is not None and entry.value == b"49"


@on_loop
async def test_a_poisonous_read_fails_its_own_caller_only() -> None:
    """One value of many cannot be decoded: a few more reads, and everybody else has the answer."""
    async with held(hold=False) as (storage, gate):
        gate.poison = {"k7": CorruptValue("k7 is damaged"), "k11": InvalidArgument("no")}
        found = await asyncio.gather(
            *(storage.values.get(key) for key in KEYS),
            storage.values.get("k7"),
            storage.values.get_many(["k6", "k7"]),
            return_exceptions=True,
        )
        wrong = [KEYS[n] if n < len(KEYS) else "more" for n, each in enumerate(found)
                 if isinstance(each, BaseException)]  # fmt: skip
        assert wrong == ["k7", "k11", "more", "more"]
        assert found[7] is not found[20]
        assert len(gate.of("read")) <= 1 + 4 * 2 * 5


@on_loop
async def test_a_store_that_is_away_is_not_asked_for_each() -> None:
    """`Unavailable` concerns all; each caller gets an exception of its own."""
    async with held(hold=False) as (storage, gate):
        gate.poison = {"k7": Unavailable("away")}
        reads = [storage.values.get(key) for key in KEYS]
        found = await asyncio.gather(*reads, return_exceptions=True)
        assert all(isinstance(each, Unavailable) for each in found)
        assert len({id(each) for each in found}) == len(KEYS)
        assert len(gate.calls) == 1


@on_loop
async def test_a_write_that_was_refused_before_it_was_sent_fails_its_own_caller_only() -> None:
    """`InvalidArgument` says that nothing was sent, so the others can be sent without it."""
    async with held(hold=False) as (storage, gate):
        gate.poison = {"k3": InvalidArgument("too many words")}
        puts = [storage.values.put(key, b"new") for key in KEYS]
        found = await asyncio.gather(*puts, return_exceptions=True)
        assert [n for n, each in enumerate(found) if isinstance(each, BaseException)] == [3]
        gate.poison = {}
        written = await storage.values.get_many(KEYS)
        assert [key for key, entry in written.items() if entry.value != b"new"] == ["k3"]


@pytest.mark.parametrize("error", [OutcomeUnknown("?"), Unavailable("!"), RuntimeError("bug")])
@on_loop
async def test_a_write_of_unknown_outcome_is_never_sent_again(error: Exception) -> None:
    """Whatever came back, it left once: each caller is told, and nobody guesses."""
    async with held(hold=False) as (storage, gate):
        gate.poison = {"k3": error}
        puts = [storage.values.put(key, b"new") for key in KEYS]
        found = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(each) for each in found} == {type(error)}
        assert gate.of("write") == [KEYS]


@on_loop
async def test_batches_are_bounded_in_number() -> None:
    """No read has more keys, and no commit more transactions, than are allowed."""
    async with held(hold=False) as (storage, gate):
        many = [f"n{number}" for number in range(1000)]
        await asyncio.gather(*(storage.values.put(key, b"") for key in many))
        await asyncio.gather(*(storage.values.get(key) for key in many))
        assert max(map(len, gate.of("write"))) == calls.MOST_TRANSACTIONS
        assert max(map(len, gate.of("read"))) == calls.MOST_KEYS


@on_loop
async def test_batches_are_bounded_in_bytes() -> None:
    """Writes by what they hold; reads by what the reads before them brought."""
    async with held(hold=False) as (storage, gate):
        large = [f"large{number}" for number in range(16)]
        value = b"x" * (calls.MOST_WRITE_BYTES // 5)
        await asyncio.gather(*(storage.values.put(key, value) for key in large))
        assert max(map(len, gate.of("write"))) == 4
        await storage.values.get(large[0])
        gate.calls.clear()
        await asyncio.gather(*(storage.values.get(key) for key in large))
        assert max(map(len, gate.of("read"))) <= 5


@on_loop
async def test_a_large_read_does_not_hold_up_a_small_one() -> None:
    """Two scans, a bulk read and a long purge are under way: a get leaves at once."""
    async with held() as (storage, gate):
        bulk = [task(storage.values.get_many(f"{n}/{m}" for m in range(500))) for n in range(3)]
        await eventually(lambda: len(gate.calls) == 1)  # one at a time
        small = [task(storage.values.get("k0"))]
        await eventually(lambda: gate.of("read")[-1] == ["k0"])
        write = task(storage.values.put("k1", b""))
        await eventually(lambda: gate.of("write") == [["k1"]])
        claim = task(storage.deferred.claim("q"))
        await eventually(lambda: gate.of("claim") == [["q"]])
        gate.release()
        await asyncio.gather(*bulk, *small, write, claim)


@on_loop
async def test_a_large_write_does_not_hold_up_a_small_one() -> None:
    """A transaction of megabytes has a lane of its own."""
    async with held() as (storage, gate):
        large = [task(storage.values.put("large", b"x" * 2**21)) for _ in range(2)]
        await eventually(lambda: len(gate.calls) == 1)
        small = task(storage.values.put("small", b""))
        await eventually(lambda: gate.of("write") == [["large"], ["small"]])
        gate.release()
        await asyncio.gather(*large, small)


@on_loop
async def test_nobody_waits_long_behind_a_slow_batch() -> None:
    """While few are under way, a call leaves after some milliseconds, in whatever company."""
    async with held(late=0.005) as (storage, gate):
        slow = [task(storage.values.put("k0", b""))]
        await eventually(lambda: len(gate.calls) == 1)
        later = [task(storage.values.put(f"later{n}", b"")) for n in range(3)]
        await eventually(lambda: len(gate.calls) == 2)
        assert gate.of("write")[1] == ["later0", "later1", "later2"]
        gate.release()
        await asyncio.gather(*slow, *later)


@on_loop
async def test_back_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded: who comes later waits before it, and goes in the order of coming."""
    monkeypatch.setattr(session, "MOST_CALLS", 10)
    monkeypatch.setattr(calls, "MOST_TRANSACTIONS", 5)
    async with held(late=0.005) as (storage, gate):
        done: list[int] = []

        async def put(number: int) -> None:
            await storage.values.put(f"n{number}", b"")
            done.append(number)

        puts = [task(put(number)) for number in range(60)]
        await eventually(lambda: len(gate.calls) == 2)
        await asyncio.sleep(0.03)
        assert gate.of("write") == [[f"n{n}" for n in range(5)], [f"n{n}" for n in range(5, 10)]]
        puts[50].cancel()
        gate.release()
        await asyncio.gather(*puts, return_exceptions=True)
        assert sorted(done) == [number for number in range(60) if number != 50]
        assert max(map(len, gate.of("write"))) <= 5
        sent = [int(key[1:]) for keys in gate.of("write") for key in keys]
        assert sorted(sent) == sorted(done)


@on_loop
async def test_back_pressure_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued holds so many bytes at most, or one more call."""
    monkeypatch.setattr(session, "MOST_BYTES", 100_000)
    async with held() as (storage, gate):
        puts = [task(storage.values.put(f"n{n}", b"x" * 30_000)) for n in range(40)]
        await eventually(lambda: len(gate.calls) >= 1)
        assert storage._session.counters().queued <= 5
        gate.release()
        await asyncio.gather(*puts)


@on_loop
async def test_every_gate_is_given_on_when_those_before_it_are_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A turn that nobody takes is another's."""
    monkeypatch.setattr(session, "MOST_CALLS", 2)
    async with held() as (storage, gate):
        puts = [task(storage.values.put(f"n{n}", b"")) for n in range(30)]
        await eventually(lambda: len(gate.calls) >= 1)
        for each in puts[1:29]:
            each.cancel()
        gate.release()
        await puts[29]
        await asyncio.gather(*puts, return_exceptions=True)


@on_loop
async def test_a_cached_hit_does_not_leave_the_loop() -> None:
    """The caching layer answers in the caller's own turn; a miss counts once."""
    gate = Gated()
    cache = MemoryCache(MemoryCacheConfig(maximum_size=100))
    sets = MemoryCache(MemoryCacheConfig(maximum_size=100))
    async with AsyncStorage(CachingLayer(gate, cache, sets)) as storage:
        await storage.values.put("k", b"v")
        await storage.sets.add("s", b"m")
        assert await storage.values.get("k") is not None and await storage.sets.members("s")
        gate.hold()
        for _ in range(3):
            entry = await immediately(storage.values.get("k"))
            assert entry is not None and entry.value == b"v"
            assert await immediately(storage.sets.members("s")) == {b"m"}
            assert set(await immediately(storage.values.get_many(["k"]))) == {"k"}
        gate.release()
        assert await storage.values.get_many(["k", "missing"]) != {}
        cache = storage.usage().caches["key_value"]
        assert (cache.hits, cache.misses) == (7, 2)
        await storage.values.put("k", b"w")
        entry = await storage.values.get("k")
        assert entry is not None and entry.value == b"w"


async def immediately(awaitable):  # type: ignore[no-untyped-def]
    """The result of a coroutine that does not wait for anything."""
    try:
        awaitable.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


@on_loop
async def test_the_memory_backend_answers_reads_in_the_loop() -> None:
    """A dict is looked up faster than a thread is woken; unless another thread is at it."""
    backend = MemoryBackend()
    async with AsyncStorage(backend) as storage:
        await storage.values.put("k", b"v")
        entry = await immediately(storage.values.get("k"))
        assert entry is not None and entry.value == b"v"
        held, over = threading.Event(), threading.Event()

        def work() -> None:
            with backend._lock:
                held.set()
                over.wait(30)

        other = threading.Thread(target=work)
        other.start()
        held.wait(30)
        read = task(storage.values.get("k"))
        await asyncio.sleep(0.02)
        assert not read.done()
        over.set()
        assert await read == entry
        other.join()


@on_loop
async def test_calls_that_travel_alone_keep_the_context_of_their_caller() -> None:
    """Context variables reach the thread, as with `asyncio.to_thread`."""
    import contextvars

    name = contextvars.ContextVar[str]("name")
    seen: list[str] = []

    class Looking(Gated):
        def claim(self, queue, *, limit, lease):  # type: ignore[no-untyped-def]
            seen.append(name.get())
            return super().claim(queue, limit=limit, lease=lease)

    async with AsyncStorage(Looking()) as storage:

        async def claim(mine: str) -> None:
            name.set(mine)
            await storage.deferred.claim("q", lease=timedelta(seconds=1))

        await asyncio.gather(*(claim(f"{n}") for n in range(10)))
    assert sorted(seen) == sorted(f"{n}" for n in range(10))
