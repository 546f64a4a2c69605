"""Cancellation, shutdown, forgotten storages: every caller is told, and no thread stays."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time

import pytest
from statekeep import Closed, OutcomeUnknown, Storage, aio
from statekeep.aio import AsyncStorage, may_have_happened, session
from statekeep.combining import combiner

from core.tests.gated import Gated, eventually, no_thread_left, on_loop, threads
from core.tests.test_aio_batching import held, task


@on_loop
async def test_a_write_that_is_cancelled_in_the_queue_was_not_sent() -> None:
    """It says so, and its neighbours are not disturbed."""
    async with held() as (storage, gate):
        first = task(storage.values.put("first", b""))
        await eventually(lambda: len(gate.calls) == 1)
        queued = [task(storage.values.put(f"n{n}", b"")) for n in range(3)]
        await asyncio.sleep(0)
        queued[1].cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await queued[1]
        assert not may_have_happened(caught.value)
        assert "not sent" in caught.value.__notes__[0]
        gate.release()
        await asyncio.gather(first, queued[0], queued[2])
        assert gate.of("write") == [["first"], ["n0", "n2"]]


@on_loop
async def test_a_write_that_is_cancelled_under_way_may_have_happened() -> None:
    """It says so at once; what it did is done, and its neighbours get their answers."""
    async with held() as (storage, gate):
        writes = [task(storage.values.put(f"n{n}", b"")) for n in range(3)]
        await eventually(lambda: len(gate.calls) == 1)
        writes[1].cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await writes[1]
        assert may_have_happened(caught.value)
        gate.release()
        assert await writes[0] and await writes[2]
        assert await storage.values.get("n1") is not None


@pytest.mark.parametrize("way", ["timeout", "wait_for"])
@pytest.mark.parametrize("sent", [True, False])
@on_loop
async def test_a_timeout_says_whether_the_write_may_have_happened(way: str, sent: bool) -> None:
    """`asyncio.timeout` and `asyncio.wait_for` raise `TimeoutError`, and it is known there too."""
    async with held() as (storage, gate):
        before = [] if sent else [task(storage.values.put(f"b{n}", b"x" * 2**21)) for n in range(2)]
        await eventually(lambda: len(gate.calls) == len(before[:1]))
        put = storage.values.put("k", b"x" * 2**21)  # large ones go one by one
        with pytest.raises(TimeoutError) as caught:
            if way == "timeout":
                async with asyncio.timeout(0.05):
                    await put
            else:
                await asyncio.wait_for(put, 0.05)
        assert may_have_happened(caught.value) is sent
        gate.release()
        await asyncio.gather(*before)


@on_loop
async def test_what_may_have_happened_of_other_errors() -> None:
    """An unknown outcome; not a read, nor what has nothing to do with a store."""
    assert may_have_happened(OutcomeUnknown("?"))
    assert not may_have_happened(ValueError("no"))
    async with held() as (storage, gate):
        read = task(storage.values.get("k0"))
        await eventually(lambda: gate.calls)
        read.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await read
        assert not may_have_happened(caught.value)


@on_loop
async def test_a_cancelled_read_leaves_the_others_their_answer() -> None:
    """Also where both wait for the same key, and nothing is asked for nobody."""
    async with held() as (storage, gate):
        reads = [task(storage.values.get("k0")) for _ in range(3)]
        await eventually(lambda: gate.calls)
        later = [task(storage.values.get(key)) for key in ("k1", "k1", "k2")]
        more = [task(storage.values.get("k3"))]
        await asyncio.sleep(0)
        await eventually(lambda: len(gate.calls) == 2)
        last = [task(storage.values.get(key)) for key in ("k4", "k5")]
        await asyncio.sleep(0)
        for each in (reads[1], later[0], last[0]):
            each.cancel()
        await asyncio.wait([reads[1], later[0], last[0]])
        gate.release()
        found = await asyncio.gather(*reads, *later, *more, *last, return_exceptions=True)
        assert sum(isinstance(each, asyncio.CancelledError) for each in found) == 3
        assert all(each.value for each in found if not isinstance(each, BaseException))
        assert "k4" not in [key for keys in gate.of("read") for key in keys]


@on_loop
async def test_many_cancellations_at_random_disturb_nobody() -> None:
    """What was acknowledged is there, what was not sent is not; nothing hangs."""
    import random

    chance = random.Random(5)
    async with held(hold=False) as (storage, _):
        outcome: dict[int, str] = {}

        async def put(number: int) -> None:
            try:
                await storage.values.put(f"n{number}", b"", expected=0)
                outcome[number] = "there"
            except asyncio.CancelledError as error:
                outcome[number] = "perhaps" if may_have_happened(error) else "absent"
                raise

        puts = []
        for number in range(600):
            puts.append(task(put(number)))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                chance.choice(puts).cancel()
        found = await asyncio.gather(*puts, return_exceptions=True)
        assert any(isinstance(each, asyncio.CancelledError) for each in found)
        present = {key async for key, _ in storage.values.scan("n")}
        for number, what in outcome.items():
            assert what == "perhaps" or (f"n{number}" in present) == (what == "there"), number
        assert len({*outcome.values()}) >= 2


@on_loop
async def test_closing_with_calls_under_way() -> None:
    """They end as they end; what is queued was not sent and says so; the backend closes last."""
    gate = Gated()
    storage = AsyncStorage(gate)
    with no_thread_left():
        gate.hold()
        under_way = task(storage.values.put("sent", b"v"))
        await eventually(lambda: gate.calls)
        queued = [task(storage.values.put("n", b"x" * 2**21)) for _ in range(3)]
        await eventually(lambda: len(gate.calls) == 2)
        closing = task(storage.close())
        for each in queued[1:]:
            with pytest.raises(Closed, match="nothing was sent"):
                await each
        with pytest.raises(Closed):
            await storage.values.put("late", b"")
        assert not closing.done() and not gate.closed
        gate.release()
        await closing
        assert gate.closed
        assert await under_way and await queued[0]


@on_loop
async def test_closing_with_tasks_before_a_full_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told too."""
    monkeypatch.setattr(session, "MOST_CALLS", 1)
    gate = Gated()
    storage = AsyncStorage(gate)
    gate.hold()
    puts = [task(storage.values.put(f"n{n}", b"")) for n in range(20)]
    await eventually(lambda: gate.calls)
    closing = task(storage.close())
    await asyncio.sleep(0)
    gate.release()
    await closing
    found = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(each) for each in found} <= {int, Closed}
    assert any(isinstance(each, Closed) for each in found)


@on_loop
async def test_closing_that_is_cancelled_goes_on() -> None:
    """And can be awaited again."""
    gate = Gated()
    storage = AsyncStorage(gate)
    gate.hold()
    under_way = task(storage.ping())
    await eventually(lambda: gate.calls)
    closing = task(storage.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.release()
    await storage.close()
    await under_way
    assert gate.closed


@on_loop
async def test_a_store_that_hangs_does_not_keep_close_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After some seconds the backend is closed under what is still under way."""
    monkeypatch.setattr("statekeep.aio.session.CLOSE_SECONDS", 0.05)
    gate = Gated()
    storage = AsyncStorage(gate)
    gate.hold()
    hanging = task(storage.ping())
    await eventually(lambda: gate.calls)
    await storage.close()
    assert gate.closed
    gate.release()
    with pytest.raises(Closed):
        await hanging
    await eventually(lambda: not threads())


def test_a_loop_that_ends_before_the_storage(recwarn: pytest.WarningsRecorder) -> None:
    """What is under way ends unheard; the storage can be closed in another loop."""
    gate = Gated()
    storage = AsyncStorage(gate)
    gate.hold()

    async def leave() -> None:
        for key in ("sent", "queued"):
            task(storage.values.put(key, b"x" * 2**21))
        await eventually(lambda: gate.calls)

    async def go_on() -> None:
        gate.release()
        await eventually(lambda: Storage(gate).values.get("sent"))
        assert await storage.values.get("queued") is None
        await storage.values.put("later", b"")
        await storage.close()

    with no_thread_left():
        asyncio.run(leave())
        asyncio.run(go_on())


def test_a_loop_that_is_closed_under_its_tasks() -> None:
    """What they asked for ends unheard, after the storage went on in another loop, too."""
    gate = Gated()
    storage = AsyncStorage(gate)
    loop = asyncio.new_event_loop()
    gate.hold()
    abandoned = loop.create_task(storage.values.put("sent", b""))
    loop.run_until_complete(eventually(lambda: gate.calls))
    loop.close()

    async def go_on() -> None:
        later = task(storage.values.put("later", b""))
        await asyncio.sleep(0.01)
        gate.release()
        await later
        await storage.close()

    with no_thread_left():
        asyncio.run(go_on())
    assert not abandoned.done()
    abandoned._log_destroy_pending = False  # type: ignore[attr-defined]  # it is pending for ever


def test_idle_threads_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody closes the storage; the next call starts another one."""
    monkeypatch.setattr(combiner, "IDLE_SECONDS", 0.02)

    async def scenario() -> None:
        storage = AsyncStorage(Gated())
        for _ in range(3):
            await asyncio.gather(*(storage.values.put(f"{n}", b"") for n in range(5)))
            await eventually(lambda: not threads(), "the end of the threads")
        for each in range(200):  # in the very moment in which they end
            await storage.values.put(f"{each}", b"")
            await asyncio.sleep(0.0195) if each % 20 == 0 else None
        await storage.close()

    with no_thread_left():
        asyncio.run(scenario())


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told; the next one may have more luck."""
    from statekeep import Unavailable

    async def scenario() -> None:
        storage = AsyncStorage(Gated())

        def refuse(self: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Unavailable, match="nothing was sent"):
                await storage.values.put("k", b"")
        await storage.values.put("k", b"")
        await storage.close()

    asyncio.run(scenario())


def test_a_process_ends_with_a_storage_that_nobody_closed() -> None:
    """At once, without a word, though a call is under way."""
    program = """
import asyncio, time
from statekeep import aio
from statekeep.layers.base import Layer
from statekeep_memory.backend import MemoryBackend

class Slow(Layer):
    def ping(self):
        time.sleep(60)

async def main():
    storage = aio.AsyncStorage(Slow(MemoryBackend()))
    await storage.values.put("k", b"v")
    asyncio.ensure_future(storage.ping())
    await asyncio.sleep(0.05)
    print("done", flush=True)

asyncio.run(main())
"""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert time.monotonic() - started < 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_goes_on_with_threads_of_its_own() -> None:
    """In a loop of its own; the parent's calls stay the parent's."""
    from statekeep.testing.forks import in_child

    storage = AsyncStorage(Gated())

    async def use(key: str) -> None:
        await asyncio.gather(*(storage.values.put(f"{key}{n}", b"") for n in range(5)))

    asyncio.run(use("parent"))
    in_child(lambda: asyncio.run(use("child")), 20)
    asyncio.run(use("parent"))
    asyncio.run(storage.close())


@on_loop
async def test_opening_that_is_cancelled_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is opened in the end is closed again."""
    import statekeep

    gate, go = Gated(), threading.Event()

    def slowly(source: object) -> Storage:
        assert go.wait(10)
        return Storage(gate)

    monkeypatch.setattr(statekeep, "open", slowly)
    opening = asyncio.ensure_future(_opened())
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    go.set()
    await eventually(lambda: gate.closed)


async def _opened() -> AsyncStorage:
    return await aio.open("memory:")


@on_loop
async def test_answers_and_errors_leave_no_garbage_in_circles() -> None:
    """A value that was read, or an error that was handled, is freed without the collector."""
    async with held(hold=False) as (storage, gate):
        from statekeep import CorruptValue, VersionConflict

        gate.poison = {"bad": CorruptValue("bad")}
        await storage.values.get("k0")
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await storage.values.get("k0")
                with pytest.raises(VersionConflict):
                    await storage.values.put("k0", b"", expected=0)
            found = [each for each in gc.get_objects() if isinstance(each, VersionConflict)]
            assert len(found) <= 1
        finally:
            gc.enable()
