"""Queues of calls, and the few threads that carry them out in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import Any

from attrs import frozen

from statekeep import fork
from statekeep.backend import Backend
from statekeep.combining.calls import (
    Call,
    Lane,
    Read,
    Reads,
    Singles,
    Write,
    Writes,
    carried_out,
)
from statekeep.errors import Closed, Unavailable
from statekeep.model import Entry

BULK_KEYS = 100
"""A read of more keys than this takes the bulk lane, so that it holds up no small one."""

BULK_BYTES = 2**20
"""The same for a transaction of more bytes."""

VALUE_OF: Callable[[Entry], bytes] = attrgetter("value")

IDLE_SECONDS = 10.0
"""After which a thread without work ends."""


@frozen(kw_only=True)
class Counters:
    """What a combiner did so far: `calls` travelled in `batches`; `queued` wait to be sent."""

    calls: int
    batches: int
    queued: int
    threads: int


class Combiner:
    """Carries calls to a backend, together where they meet.

    One thread appends calls to the `queue` of a lane; `dispatch` sends what can leave. What comes
    while a lane has as many batches under way as it may waits, and leaves as one batch as soon as
    one of them is back.
    There is no waiting for company: an idle lane sends at once.

    Args:
        backend: what is called.
        deliver: told of calls that have ended, in a thread of the combiner.
    """

    def __init__(self, backend: Backend, deliver: Callable[[Sequence[Call]], None]) -> None:
        self._deliver = deliver
        self.entries = Reads[Entry](2, 4, backend.get_many, _entry_bytes, backend.start_get_many)
        self.many_entries = Reads[Entry](1, 1, backend.get_many, _entry_bytes)
        self.members = Reads[frozenset[bytes]](1, 2, backend.members_many, _members_bytes)
        self.writes = Writes(1, 4, backend.commit, backend.start_commit)
        self.large_writes = Writes(1, 1, backend.commit)
        self.singles = Singles(2, 4)
        self.upkeep = Singles(1, 1)
        self._lanes: list[Lane[Any]] = [
            self.entries,
            self.writes,
            self.members,
            self.singles,
            self.many_entries,
            self.large_writes,
            self.upkeep,
        ]
        most = sum(lane.at_most for lane in self._lanes)
        self._most = min(most, backend.capabilities.max_connections or most)
        self._closed = False
        self._calls = self._batches = 0
        self._reset()
        fork.register(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[tuple[Lane[Any], list[Call]] | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._idle = self._running = self._turn = 0

    def read_lane(self, call: Read) -> Lane[Read]:
        """Where a read of entries belongs."""
        return self.entries if len(call.keys) <= BULK_KEYS else self.many_entries

    def write_lane(self, call: Write) -> Lane[Write]:
        """Where a transaction belongs."""
        return self.writes if call.bytes <= BULK_BYTES else self.large_writes

    def withdraw(self, lane: Lane[Any], call: Call) -> bool:
        """Takes a call back, where it was not sent yet; whether that could be done.

        Only the thread that adds calls may withdraw them.
        """
        with self._lock:
            return lane.withdraw(call)

    def dispatch(self, start: Callable[[Lane[Any], list[Call]], bool]) -> bool:
        """Sends what can leave now; whether some had to stay (see `LATE_SECONDS`).

        Args:
            start: takes a batch over, to tell of its end by `ended` or `again`; or says False, and
                a thread carries it out.
        """
        while True:
            with self._lock:
                job = self._next()
                if job is None:
                    return any(lane.queue for lane in self._lanes)
            if not start(*job):
                self.again(*job)

    def ended(self, lane: Lane[Any]) -> None:
        """A batch of this lane that `start` took over has ended."""
        with self._lock:
            lane.running -= 1
            self._running -= 1

    def again(self, lane: Lane[Any], batch: list[Call]) -> None:
        """A thread carries out a batch that had left already."""
        with self._lock:
            self._hand((lane, batch))

    def counters(self) -> Counters:
        """What was done so far, and waits now."""
        with self._lock:
            return Counters(
                calls=self._calls,
                batches=self._batches,
                queued=sum(len(lane.queue) for lane in self._lanes),
                threads=len(self._threads),
            )

    def close(self) -> list[Call]:
        """Lets nothing more be sent; what is under way goes on.

        Returns:
            The calls that were queued: they are not sent, and nobody else will end them.
        """
        with self._lock:
            self._closed = True
            for _ in range(self._idle):
                self._jobs.put(None)
            self._idle = 0
            return self._unqueued()

    def forget(self) -> None:
        """Drops what is queued: nobody waits for it any more."""
        with self._lock:
            self._unqueued()

    def _unqueued(self) -> list[Call]:
        dropped: list[Call] = [call for lane in self._lanes for call in lane.clear()]
        for call in dropped:
            call.error = _closed()
        return dropped

    def join(self, seconds: float) -> bool:
        """After `close`: waits for the calls under way; whether all threads have ended."""
        deadline = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def after_fork(self) -> None:
        """The threads are the parent's, and so is what they carried."""
        for lane in self._lanes:
            lane.clear()
            lane.running = 0
        self._reset()

    def _next(self) -> tuple[Lane[Any], list[Call]] | None:
        """The next batch that may leave, lane by lane in turn. Under the lock."""
        if self._running >= self._most:
            return None
        now = time.monotonic()
        for step in range(len(self._lanes)):
            lane = self._lanes[(self._turn + step) % len(self._lanes)]
            if not lane.queue or not lane.may_leave(now):
                continue
            batch = lane.take()
            if batch:
                self._turn += step + 1
                self._calls += len(batch)
                self._batches += 1
                lane.running += 1
                lane.left = now
                self._running += 1
                return lane, batch
        return None

    def _hand(self, job: tuple[Lane[Any], list[Call]]) -> None:
        """Gives a batch to a thread that is idle, or a new one. Under the lock."""
        if self._idle:
            self._idle -= 1
            self._jobs.put(job)
            return
        thread = threading.Thread(target=self._work, args=(job,), name="statekeep-io", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads in this process
            self._threads.discard(thread)
            lane, batch = job
            lane.running -= 1
            self._running -= 1
            for call in batch:
                call.error = Unavailable(f"no thread could be started: {error}; nothing was sent")
            self._deliver(batch)

    def _work(self, job: tuple[Lane[Any], list[Call]] | None) -> None:
        """What a thread does: batch after batch, until it has been idle for long."""
        while job is not None:
            lane, batch = job
            for done in carried_out(lane, batch):
                self._deliver(done)
            del job, batch, done  # what they hold would stay as long as the thread waits
            job = self._after(lane)
        with self._lock:
            self._threads.discard(threading.current_thread())

    def _after(self, lane: Lane[Any]) -> tuple[Lane[Any], list[Call]] | None:
        """The next batch for a thread that carried out one of this lane; None: it ends."""
        with self._lock:
            lane.running -= 1
            self._running -= 1
            job = self._next()
            if job is not None or self._closed:
                return job
            self._idle += 1
        while True:
            try:
                return self._jobs.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._jobs.empty():  # else it came in this very moment
                        self._idle -= 1
                        return None


def _closed() -> Closed:
    return Closed("this storage is closed; open another one; nothing was sent")


def _entry_bytes(entries: Iterable[Entry]) -> int:
    return sum(map(len, map(VALUE_OF, entries)))


def _members_bytes(sets: Iterable[frozenset[bytes]]) -> int:
    return sum(map(len, chain.from_iterable(sets)))
