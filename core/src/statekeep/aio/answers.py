"""Batches that the event loop itself sent: it watches for their answers, and no thread waits."""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from statekeep import fork
from statekeep.combining.calls import Call, Lane, Writes, fail
from statekeep.combining.combiner import Combiner
from statekeep.errors import OutcomeUnknown, StorageError, Unavailable
from statekeep.pending import CallAgain, Pending


class Job:
    """A batch under way."""

    __slots__ = ("batch", "descriptor", "lane", "pending")

    def __init__(self, lane: Lane[Any], batch: list[Call], pending: Pending[Any]) -> None:
        self.lane = lane
        self.batch = batch
        self.pending = pending
        self.descriptor = pending.fileno()


class Answers:
    """Watches the connections of batches under way. Used by the event loop's thread alone.

    Whatever ends without an answer, and is none of the errors that concern all callers alike, a
    thread carries out once more: there is one place that explains, divides and connects.

    Args:
        combiner: where the batches come from.
        deliver: told of calls that have ended.
    """

    def __init__(self, combiner: Combiner, deliver: Callable[[Sequence[Call]], None]) -> None:
        self._combiner = combiner
        self._deliver = deliver
        self._loop: AbstractEventLoop | None = None
        self.after_fork()
        fork.register(self)

    def after_fork(self) -> None:
        """What is under way, and the selector that watches it, are the parent's."""
        self._jobs: set[Job] = set()
        self._timer: TimerHandle | None = None
        self._drained: Future[None] | None = None

    def use(self, loop: AbstractEventLoop) -> None:
        """Belongs to this loop from now on; what another one left behind is given up."""
        jobs = self._jobs
        self.after_fork()
        for job in jobs:
            job.pending.abandon()
            self._combiner.ended(job.lane)
        self._loop = loop if _can_watch(loop) else None

    def start(self, lane: Lane[Any], batch: list[Call]) -> bool:
        """Sends a batch without a thread; False where that cannot be, and nothing was sent."""
        loop = self._loop
        if loop is None:
            return False
        try:
            if len(batch) == 1:
                pending = batch[0].context.run(lane.start, batch)
            else:
                pending = lane.start(batch)
        except BaseException as error:
            self._failed(lane, batch, error)
            if not isinstance(error, Exception):
                raise
            return True
        lane.halves = pending is not None
        if pending is None:
            return False
        job = Job(lane, batch, pending)
        self._jobs.add(job)
        loop.add_reader(job.descriptor, self._receive, job)
        self._watch_clock(loop, pending.deadline)
        return True

    async def drained(self, seconds: float) -> None:
        """Waits until nothing is under way, but no longer than this."""
        if self._jobs:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained], timeout=seconds)

    def _receive(self, job: Job) -> None:
        """Looks what came; the batch ends where it is the answer, or there will be none."""
        lane, batch = job.lane, job.batch
        try:
            answer = job.pending.receive()
            if answer is None:
                return
            rest = lane.finish(batch, answer)
        except BaseException as error:
            if not isinstance(error, StorageError | CallAgain):
                job.pending.abandon()
            self._ended(job)
            self._failed(lane, batch, error)
            if not isinstance(error, Exception):
                raise
            return
        self._ended(job)
        if rest:
            self._combiner.again(lane, rest)
            left = set(rest)
            batch = [call for call in batch if call not in left]
        else:
            self._combiner.ended(lane)
        if batch:
            self._deliver(batch)

    def _failed(self, lane: Lane[Any], batch: list[Call], error: BaseException) -> None:
        if isinstance(error, CallAgain) or (len(batch) > 1 and lane.divides(error)):
            self._combiner.again(lane, batch)
            return
        fail(lane, batch, error if isinstance(error, Exception) else _interrupted(lane, error))
        self._combiner.ended(lane)
        self._deliver(batch)

    def _ended(self, job: Job) -> None:
        assert self._loop is not None
        self._loop.remove_reader(job.descriptor)
        self._jobs.discard(job)
        if self._drained is not None and not self._jobs:
            if not self._drained.done():
                self._drained.set_result(None)
            self._stop_clock()

    def _watch_clock(self, loop: AbstractEventLoop, deadline: float) -> None:
        """One timer for all: it rings at the earliest deadline that it knew when it was set.

        So most calls find one that is early enough, and none has to be taken back.
        """
        if deadline == inf:
            return
        wait = deadline - time.monotonic()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + wait:
                return
            self._stop_clock()
        self._timer = loop.call_later(max(0.0, wait), self._overdue)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        self._timer = None
        now = time.monotonic()
        for job in [each for each in self._jobs if each.pending.deadline <= now]:
            self._receive(job)
        if self._jobs and self._loop is not None:
            self._watch_clock(self._loop, min(each.pending.deadline for each in self._jobs))


def _interrupted(lane: Lane[Any], interrupt: BaseException) -> StorageError:
    """What callers are told: the interrupt itself is the loop's, and ends it once."""
    kind = OutcomeUnknown if isinstance(lane, Writes) else Unavailable
    error = kind("an interrupt (Ctrl-C) ended the call before its answer was read")
    error.__cause__ = interrupt
    return error


def _can_watch(loop: AbstractEventLoop) -> bool:
    """Whether the loop watches file descriptors: Windows' default one does not."""
    with socket.socket() as trial:
        try:
            loop.remove_reader(trial.fileno())
        except NotImplementedError:
            return False
    return True
