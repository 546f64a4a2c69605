"""Calls that the event loop starts: whatever comes of them, each caller has one answer or error."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from statekeep import CorruptValue, InvalidArgument, OutcomeUnknown, Unavailable, VersionConflict
from statekeep.aio import AsyncStorage, may_have_happened, session
from statekeep.combining.calls import HALVED, LOOP_BYTES
from statekeep.errors import Closed
from statekeep.pending import CallAgain

from core.tests.gated import at_rest, eventually, no_thread_left, on_loop, threads
from core.tests.mailbox import Mailbox

MANY = [f"k{number}" for number in range(10)]


@asynccontextmanager
async def opened(prompt: bool = False) -> AsyncIterator[tuple[AsyncStorage, Mailbox]]:
    """A storage over a mailbox in which every key of MANY has itself as its value."""
    mailbox = Mailbox()
    with no_thread_left():
        async with AsyncStorage(mailbox) as storage:
            mailbox.prompt = True
            await storage.values.put_many({key: key.encode() for key in MANY})
            mailbox.prompt = prompt
            mailbox.letters.clear()
            yield storage, mailbox
            for letter in mailbox.letters:
                if letter.state == "under way":
                    letter.deliver()


def reads(storage: AsyncStorage) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(storage.values.get(key)) for key in MANY]


def writes(storage: AsyncStorage) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(storage.values.put(key, b"new")) for key in MANY]


@on_loop
async def test_no_thread_is_started() -> None:
    """Reads and writes, alone and together."""
    async with opened(prompt=True) as (storage, mailbox):
        for _ in range(3):
            assert (await storage.values.get("k0")).value == b"k0"  # type: ignore[union-attr]
            await storage.values.put("k0", b"k0")
            found = await asyncio.gather(*reads(storage))
            assert [entry.value for entry in found] == [key.encode() for key in MANY]
        assert threads() == [] and mailbox.blocking == []
        assert [len(letter.keys) for letter in mailbox.letters] == [1, 1, 10] * 3


@on_loop
async def test_answers_may_overtake_each_other() -> None:
    """Each wakes those who asked for it; who asked later is not kept by who asked before."""
    async with opened() as (storage, mailbox):
        first = asyncio.ensure_future(storage.values.get("k0"))
        await eventually(lambda: len(mailbox.letters) == 1)
        second = asyncio.ensure_future(storage.values.get("k1"))
        await eventually(lambda: len(mailbox.letters) == 2)
        mailbox.letters[1].deliver()
        assert (await second).value == b"k1"  # type: ignore[union-attr]
        assert not first.done()
        mailbox.letters[0].deliver()
        assert (await first).value == b"k0"  # type: ignore[union-attr]


@on_loop
async def test_what_cannot_be_started_a_thread_does() -> None:
    """Because there is no way, or the start says so, or nothing came of it."""
    async with opened(prompt=True) as (storage, mailbox):
        for harm in ("none", "start", "end"):
            for call, answer in ((reads, MANY), (writes, None)):
                await at_rest(storage)
                mailbox.blocking.clear()
                mailbox.starts = harm != "none"
                mailbox.failing = CallAgain("so") if harm == "start" else None
                mailbox.prompt = harm != "end"
                tasks = call(storage)
                if harm == "end":
                    await eventually(lambda: mailbox.letters[-1].state == "under way")
                    mailbox.letters[-1].deliver(CallAgain("so"))
                found = await asyncio.gather(*tasks)
                assert mailbox.blocking == [MANY]
                if answer is not None:
                    assert [entry.value for entry in found] == [key.encode() for key in answer]
            await at_rest(storage)
            mailbox.prompt, mailbox.starts = True, True
            await storage.values.put_many({key: key.encode() for key in MANY})


@on_loop
async def test_a_store_that_is_away_is_told_to_all() -> None:
    """Nothing is read again, nor by a thread; each has an exception of its own."""
    async with opened() as (storage, mailbox):
        for way in ("start", "end"):
            mailbox.failing = Unavailable("away") if way == "start" else None
            tasks = reads(storage)
            if way == "end":
                await eventually(lambda: mailbox.letters)
                mailbox.letters[-1].deliver(Unavailable("away"))
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(each) for each in found} == {Unavailable}
            assert len({id(each) for each in found}) == len(MANY)
        assert mailbox.blocking == []


@on_loop
async def test_a_poisonous_value_fails_its_own_caller() -> None:
    """The others have their answers from reads in a thread, which divides them."""
    async with opened() as (storage, mailbox):
        tasks = reads(storage)
        await eventually(lambda: mailbox.letters)
        mailbox.letters[0].deliver(CorruptValue("bad"))
        found = await asyncio.gather(*tasks)
        assert [entry.value for entry in found] == [key.encode() for key in MANY]
        await at_rest(storage)
        one = asyncio.ensure_future(storage.values.get("k0"))
        await eventually(lambda: len(mailbox.letters) == 2)
        mailbox.letters[1].deliver(CorruptValue("bad"))
        with pytest.raises(CorruptValue):
            await one


@pytest.mark.parametrize("way", ["start", "end"])
@on_loop
async def test_a_write_of_unknown_outcome_is_never_sent_again(way: str) -> None:
    """All whose transactions were in the batch are told."""
    async with opened() as (storage, mailbox):
        mailbox.failing = OutcomeUnknown("lost") if way == "start" else None
        tasks = writes(storage)
        if way == "end":
            await eventually(lambda: mailbox.letters)
            mailbox.letters[0].deliver(OutcomeUnknown("lost"))
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in found} == {OutcomeUnknown}
        assert all(may_have_happened(each) for each in found)
        assert mailbox.blocking == [] and len(mailbox.letters) == (way == "end")


@on_loop
async def test_a_batch_that_cannot_be_sent_is_divided() -> None:
    """`InvalidArgument` of one of many promises that nothing was sent."""
    async with opened() as (storage, mailbox):
        mailbox.failing = InvalidArgument("too large")
        found = await asyncio.gather(*writes(storage))
        assert len(found) == len(MANY) and mailbox.blocking == [MANY]
        await at_rest(storage)
        mailbox.failing = InvalidArgument("too large")
        with pytest.raises(InvalidArgument):
            await storage.values.put("k0", b"")


@on_loop
async def test_what_was_left_of_a_commit_is_committed() -> None:
    """The others have their outcomes at once, and nobody has two."""
    async with opened() as (storage, mailbox):
        stale = asyncio.ensure_future(storage.values.put("k0", b"", expected=10**9))
        tasks = writes(storage)[1:]
        await eventually(lambda: mailbox.letters)
        letter = mailbox.letters[0]
        assert letter.keys == ["k0", *MANY]
        outcomes = list(letter.answer)
        letter.deliver([outcomes[0], outcomes[1], *([None] * 4), *outcomes[6:]])
        with pytest.raises(VersionConflict):
            await stale
        versions = await asyncio.gather(*tasks)
        assert mailbox.blocking == [MANY[1:5]]
        found = mailbox.inner.get_many(MANY)
        assert [found[key].version for key in MANY[1:]] == versions


@on_loop
async def test_a_deadline_that_passes() -> None:
    """The call is asked for its error, each when its own time has come."""
    async with opened() as (storage, mailbox):
        began = time.monotonic()
        mailbox.seconds = 0.2
        late = asyncio.ensure_future(storage.values.get("k0"))
        await eventually(lambda: len(mailbox.letters) == 1)
        mailbox.seconds = 0.05
        soon = asyncio.ensure_future(storage.values.put("k1", b""))
        for call, seconds in ((soon, 0.05), (late, 0.2)):
            with pytest.raises(TimeoutError):
                await call
            assert seconds <= time.monotonic() - began < seconds + 1


@on_loop
async def test_a_cancelled_caller_disturbs_no_neighbour() -> None:
    """A write that is under way may have happened; the answers of the others come."""
    async with opened() as (storage, mailbox):
        for call in (reads, writes):
            tasks = call(storage)
            count = len(mailbox.letters)
            await eventually(lambda count=count: len(mailbox.letters) > count)
            tasks[3].cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await tasks[3]
            assert may_have_happened(caught.value) == (call is writes)
            mailbox.letters[-1].deliver()
            del tasks[3]
            assert len(await asyncio.gather(*tasks)) == len(MANY) - 1


@on_loop
async def test_closing_waits_for_what_is_under_way() -> None:
    """Its callers have their answers; what is queued is refused."""
    mailbox = Mailbox()
    storage = AsyncStorage(mailbox)
    with no_thread_left():
        put = asyncio.ensure_future(storage.values.put("k", b"1"))
        await eventually(lambda: mailbox.letters)
        queued = asyncio.ensure_future(storage.values.put("k", b"2"))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(storage.close())
        await asyncio.sleep(0.02)
        assert not closing.done()
        mailbox.letters[0].deliver()
        assert await put > 0
        with pytest.raises(Closed):
            await queued
        await closing


@on_loop
async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an answer that does not come; the caller is told when its time is over."""
    monkeypatch.setattr(session, "CLOSE_SECONDS", 0.1)
    mailbox = Mailbox()
    mailbox.seconds = 0.3
    storage = AsyncStorage(mailbox)
    put = asyncio.ensure_future(storage.values.put("k", b"1"))
    await eventually(lambda: mailbox.letters)
    began = time.monotonic()
    await storage.close()
    assert time.monotonic() - began < 0.3
    with pytest.raises(TimeoutError):
        await put


@on_loop
async def test_large_batches_go_to_threads() -> None:
    """Commits by what they hold, reads by what they lately brought."""
    async with opened(prompt=True) as (storage, mailbox):
        await storage.values.put("large", b"x" * (LOOP_BYTES + 1))
        assert mailbox.blocking == [["large"]] and mailbox.letters == []
        await at_rest(storage)
        await storage.values.get("large")
        assert len(mailbox.letters) == 1  # who could have known?
        await storage.values.get("large")
        assert len(mailbox.letters) == 1


@on_loop
async def test_a_call_alone_is_started_in_the_context_of_its_caller() -> None:
    """What the backend looks up there, such as a span, is the caller's."""
    variable = contextvars.ContextVar("variable", default="nobody")
    async with opened(prompt=True) as (storage, mailbox):
        seen: list[str] = []
        start = mailbox._post

        def noting(keys: list[str], answer: Any) -> Any:
            seen.append(variable.get())
            return start(keys, answer)

        mailbox._post = noting  # type: ignore[method-assign]
        variable.set("caller")
        await storage.values.get("k0")
        await storage.values.put("k0", b"")
        assert seen == ["caller", "caller"]


@on_loop
async def test_long_queues_leave_in_two_where_they_are_started() -> None:
    """So that the store works while answers are read; in threads, one batch is cheaper."""
    async with opened(prompt=True) as (storage, mailbox):
        keys = [f"w{number}" for number in range(HALVED + 8)]

        async def put_all() -> None:
            await asyncio.gather(*(storage.values.put(key, b"") for key in keys))

        await storage.values.put("k0", b"")
        mailbox.letters.clear()
        await put_all()
        assert [len(letter.keys) for letter in mailbox.letters] == [len(keys) // 2] * 2
        mailbox.starts = False
        await storage.values.put("k0", b"")
        mailbox.blocking.clear()
        await put_all()
        assert [len(each) for each in mailbox.blocking] == [len(keys)]


@pytest.mark.parametrize("way", ["start", "end"])
def test_an_interrupt_ends_the_calls_that_it_met(way: str) -> None:
    """`KeyboardInterrupt` goes through the loop; who waited is not left waiting."""
    mailbox = Mailbox()
    storage = AsyncStorage(mailbox)
    loop = asyncio.new_event_loop()
    try:

        async def begin() -> asyncio.Task[Any]:
            mailbox.failing = KeyboardInterrupt() if way == "start" else None
            task = asyncio.ensure_future(storage.values.put("k", b""))
            if way == "end":
                await eventually(lambda: mailbox.letters)
                mailbox.letters[0].deliver(KeyboardInterrupt())
            await asyncio.sleep(1)
            return task

        main = loop.create_task(begin())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main)
        (task,) = asyncio.all_tasks(loop) - {main}
        found = loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        assert isinstance(found[0], OutcomeUnknown), "not the interrupt once more"
        main.cancel()
        loop.run_until_complete(asyncio.gather(main, storage.close(), return_exceptions=True))
    finally:
        loop.close()
