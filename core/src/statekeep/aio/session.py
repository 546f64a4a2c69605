"""The gate between what tasks await and the combiner: futures, back-pressure, cancellation, end."""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from statekeep.aio.answers import Answers
from statekeep.backend import Backend
from statekeep.combining.calls import LATE_SECONDS, Call, Lane, Read, Single, Write
from statekeep.combining.combiner import Combiner, Counters
from statekeep.errors import Closed, OutcomeUnknown, Unsupported
from statekeep.metrics import MOST_QUEUED, TASK_OTHER, TASK_READ, TASK_WRITE, Recorder
from statekeep.model import Committed, Entry, Operation, Record, RecordKind
from statekeep.session import NOTHING_TO_DO, PAGE, Session, raise_unless_committed

P = ParamSpec("P")
T = TypeVar("T")

MOST_CALLS = 10_000
"""Calls that are queued or under way; who comes later waits before them."""

MOST_BYTES = 64 * 2**20
"""What they may hold together; a single one may hold more."""

CLOSE_SECONDS = 5.0
"""How long `close()` waits for calls under way before it closes the backend; as the pool does."""

SENT = "statekeep: the cancelled call was on its way, so a write of it may have been applied"
NOT_SENT = "statekeep: the cancelled call was not sent, so nothing of it was applied"


class AsyncSession:
    """A backend as the asynchronous surfaces see it. Belongs to the event loop that uses it first.

    Attributes:
        backend: the composed backend.
        recorder: where calls are counted.
    """

    def __init__(self, backend: Backend, recorder: Recorder | None = None) -> None:
        self.backend = backend
        self._session = Session(backend, recorder)
        self.recorder = self._session.recorder
        names = {Read: TASK_READ, Write: TASK_WRITE, Single: TASK_OTHER}
        self._waited = {kind: self.recorder.series[name] for kind, name in names.items()}
        self._combiner = Combiner(backend, self._delivered)
        self._answers = Answers(self._combiner, self._answered)
        self._loop: AbstractEventLoop | None = None
        self._scheduled = self._watching = False
        self._calls = self._bytes = 0
        self._gates: deque[tuple[Future[None], int]] = deque()
        self._ending: asyncio.Task[None] | None = None

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """See `Backend.peek`."""
        return self.backend.peek(keys) if self._ending is None else None

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """See `Backend.peek_members`."""
        return self.backend.peek_members(keys) if self._ending is None else None

    def read(self, keys: Sequence[str]) -> Awaitable[dict[str, Entry]]:
        """See `Backend.get_many`; the answer is shared with others, and may hold more keys."""
        read = Read(keys)
        return self._travel(self._combiner.read_lane(read), read)

    def read_members(self, keys: Sequence[str]) -> Awaitable[dict[str, frozenset[bytes]]]:
        """See `Backend.members_many`; as with `read`."""
        return self._travel(self._combiner.members, Read(keys))

    async def commit(self, operations: Iterable[Operation]) -> Committed:
        """See `Session.commit`."""
        transaction = self._session.transaction(operations)
        if not transaction.operations:
            return NOTHING_TO_DO
        write = Write(transaction)
        return raise_unless_committed(await self._travel(self._combiner.write_lane(write), write))

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a method of the backend; it travels alone."""
        return await self._alone(self._combiner.singles, partial(function, *args, **kwargs))

    async def upkeep(self, function: Callable[[], T]) -> T:
        """The same for what may take long."""
        return await self._alone(self._combiner.upkeep, function)

    async def scan(self, kind: RecordKind, prefix: str) -> AsyncIterator[Record]:
        """See `Session.scan`."""
        cursor = None
        while True:
            page = await self.call(
                self.backend.scan, kind, prefix=prefix, limit=PAGE, cursor=cursor
            )
            for record in page.items:
                yield record
            cursor = page.cursor
            if cursor is None:
                return

    def counters(self) -> Counters:
        """What travelled so far."""
        return self._combiner.counters()

    async def close(self) -> None:
        """Refuses what is queued, awaits what is under way, and closes the backend."""
        if self._ending is None:
            self._use(asyncio.get_running_loop())
            self._wake(self._combiner.close())
            while self._gates:
                _open(self._gates.popleft()[0])
            self._ending = asyncio.create_task(self._end(time.monotonic() + CLOSE_SECONDS))
        await asyncio.shield(self._ending)

    async def _end(self, deadline: float) -> None:
        await self._answers.drained(CLOSE_SECONDS)  # some may yet go to a thread
        await in_thread(partial(self._join, deadline))

    def _join(self, deadline: float) -> None:
        self._combiner.join(max(0.0, deadline - time.monotonic()))
        self.backend.close()

    async def _alone(self, lane: Lane[Single], function: Callable[[], T]) -> T:
        answer: T = await self._travel(lane, Single(function))
        return answer

    async def _travel(self, lane: Lane[Any], call: Read | Write | Single) -> Any:
        """The answer of a call, or its error."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._use(loop)
        try:
            if self._gates or self._calls >= MOST_CALLS or self._bytes >= MOST_BYTES:
                await self._turn(loop, call)
            if self._ending is not None:
                raise _closed()
            self._calls += 1
            self._bytes += call.bytes
            waiter = call.waiter = loop.create_future()
            lane.queue.append(call)
            if not self._scheduled:
                self._schedule(loop)
            await waiter
        except asyncio.CancelledError as cancelled:
            sent = call.waiter is not None and not self._withdrawn(lane, call)
            if not isinstance(call, Read):
                _mark(cancelled, sent)
            raise
        if call.error is not None:
            error, call.error = call.error, None
            try:
                raise error
            finally:
                del error  # whose traceback has this frame
        return call.answer

    def _withdrawn(self, lane: Lane[Any], call: Call) -> bool:
        if not self._combiner.withdraw(lane, call):
            return False
        self._calls -= 1
        self._bytes -= call.bytes
        return True

    async def _turn(self, loop: AbstractEventLoop, call: Call) -> None:
        """Waits before a full queue; those who came first go first."""
        gate = loop.create_future()
        self._gates.append((gate, call.bytes))
        try:
            await gate
        except asyncio.CancelledError:
            self._schedule(loop)  # this turn is another's
            raise

    def _use(self, loop: AbstractEventLoop) -> None:
        if loop is self._loop:
            return
        if self._ending is not None:
            raise _closed()
        if self._loop is not None and not self._loop.is_closed():
            raise Unsupported(
                "this storage is in use by another event loop: open one in each; nothing was sent"
            )
        self._loop = loop
        self._scheduled = self._watching = False
        self._combiner.forget()
        self._answers.use(loop)
        self._gates.clear()
        self._calls = self._bytes = 0

    def _schedule(self, loop: AbstractEventLoop) -> None:
        """Sends what is queued, after all that can run now had the chance to queue."""
        self._scheduled = True
        loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._combiner.dispatch(self._answers.start) and not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_later(LATE_SECONDS, self._look_again)
        calls, bytes = MOST_CALLS - self._calls, MOST_BYTES - self._bytes
        while self._gates and calls > 0 and bytes > 0:
            gate, size = self._gates.popleft()
            if not gate.done():  # else it was cancelled
                gate.set_result(None)
                calls, bytes = calls - 1, bytes - size

    def _look_again(self) -> None:
        self._watching = False
        self._dispatch()

    def _delivered(self, calls: Sequence[Call]) -> None:
        """In a thread of the combiner."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._answered, calls)

    def _answered(self, calls: Sequence[Call]) -> None:
        """Notes how long tasks waited for these, which travelled together, and wakes them."""
        now, series = perf_counter(), self._waited[type(calls[0])]
        series.queued.extend([(now - call.begun, 1, 0) for call in calls])
        if len(series.queued) > MOST_QUEUED:
            series.settle()
        self._wake(calls)

    def _wake(self, calls: Sequence[Call]) -> None:
        loop = self._loop
        assert loop is not None
        for call in calls:
            waiter = call.waiter
            if waiter.get_loop() is not loop:
                return  # of a loop that was closed: nobody waits for any of them
            self._bytes -= call.bytes
            if not waiter.done():
                waiter.set_result(None)
        self._calls -= len(calls)
        if not self._scheduled:
            self._schedule(loop)  # after those who were woken: they may call again


def may_have_happened(error: BaseException) -> bool:
    """Whether the call that ended with this error may have changed the store.

    For a `CancelledError` or `TimeoutError` that ended a write: False, where the write was still
    queued and never left this process. Without a cancelled write it is True for `OutcomeUnknown`
    alone.
    """
    each: BaseException | None = error
    passed: set[int] = set()
    while each is not None and id(each) not in passed:
        if isinstance(each, OutcomeUnknown):
            return True
        notes = getattr(each, "__notes__", ())
        if SENT in notes or NOT_SENT in notes:
            return SENT in notes
        passed.add(id(each))
        each = each.__cause__ or each.__context__
    return False


async def in_thread(function: Callable[[], T]) -> T:
    """Calls a function in a thread of its own, which has ended when the answer is here."""
    loop = asyncio.get_running_loop()
    done: Future[None] = loop.create_future()
    call = Single(function)

    def run() -> None:
        try:
            call.answer = call.context.run(function)
        except BaseException as error:
            call.error = error
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_open, done)

    thread = threading.Thread(target=run, name="statekeep-call", daemon=True)
    thread.start()
    await done
    thread.join()
    if call.error is not None:
        raise call.error
    answer: T = call.answer
    return answer


def _open(gate: Future[None]) -> None:
    if not gate.done():
        gate.set_result(None)


def _closed() -> Closed:
    return Closed("this storage is closed; open another one; nothing was sent")


def _mark(cancelled: asyncio.CancelledError, sent: bool) -> None:
    cancelled.add_note(SENT if sent else NOT_SENT)
