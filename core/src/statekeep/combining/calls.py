"""Calls that wait to travel, and lanes: which of them travel together, and how many at once."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from itertools import chain
from operator import attrgetter
from time import perf_counter
from typing import Any, Generic, TypeVar

from statekeep.errors import (
    AccessDenied,
    Closed,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    Unavailable,
    Unsupported,
)
from statekeep.model import Failed, Outcome, Put, Schedule, Transaction
from statekeep.pending import Pending

V = TypeVar("V")
C = TypeVar("C", bound="Call")

MOST_KEYS = 256
"""Of one combined read. Larger ones gain little more, and one thread that decodes a thousand
values at a time holds up the event loop for milliseconds."""

MOST_READ_BYTES = 4 * 2**20
"""What a combined read should bring at most; estimated by what came before."""

MOST_TRANSACTIONS = 256
"""Of one combined commit."""

MOST_WRITE_BYTES = 4 * 2**20
"""Of one combined commit; a single transaction may be larger."""

LOOP_BYTES = 512 * 2**10
"""What a read should bring at most, by the same estimate, and a commit hold, to be carried out in
an event loop: to decode it there keeps all tasks for some tenths of a millisecond. A thread takes
what is larger."""

LATE_SECONDS = 0.005
"""A call that waits for a place gets one after this time at the latest, where there is one left."""

CALL_BYTES = 100
"""Counted for every call besides the values it writes."""


HALVED = 32
"""So many calls leave in two batches, where the event loop sends them: the server works on one
while this process works on the other."""


class Call:
    """A call on its way, and what came of it: exactly one of `answer` and `error` in the end.

    Attributes:
        waiter: whoever is told of the end; the combiner does not look at it.
        begun: when it was made, by `time.perf_counter()`.
        context: that of its caller, in which it is sent where it travels alone.
        bytes: about what it holds in memory until then.
        space: what it takes of the room in a batch of its lane.
        sent: it left the queue, so it may have been carried out.
        withdrawn: nobody waits for it any more, and it was not sent.
    """

    __slots__ = (
        "answer",
        "begun",
        "bytes",
        "context",
        "error",
        "sent",
        "space",
        "waiter",
        "withdrawn",
    )

    def __init__(self, bytes: int = CALL_BYTES, space: float = 1.0) -> None:
        self.waiter: Any = None
        self.begun = perf_counter()
        self.context = copy_context()
        self.bytes = bytes
        self.space = space
        self.answer: Any = None
        self.error: BaseException | None = None
        self.sent = self.withdrawn = False


class Read(Call):
    """A read of some keys. The answer is a dict, which others share: it may hold more keys."""

    __slots__ = ("keys",)

    def __init__(self, keys: Sequence[str]) -> None:
        Call.__init__(self, CALL_BYTES, len(keys))
        self.keys = keys


class Write(Call):
    """A transaction; the answer is its outcome."""

    __slots__ = ("transaction",)

    def __init__(self, transaction: Transaction) -> None:
        operations = transaction.operations
        bytes = _bytes(operations[0]) if len(operations) == 1 else sum(map(_bytes, operations))
        Call.__init__(self, bytes, max(1 / MOST_TRANSACTIONS, bytes / MOST_WRITE_BYTES))
        self.transaction = transaction


class Single(Call):
    """Anything else, which travels alone."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self.function = function


KEYS_OF: Callable[[Read], Sequence[str]] = attrgetter("keys")
BYTES_OF: Callable[[Call], int] = attrgetter("bytes")


class Lane(ABC, Generic[C]):
    """A queue of calls that may travel together.

    Few batches under way make larger ones, which is what is wanted as long as they come back
    soon. Where the latest is late, as over a slow network or behind a lock, another may leave.

    Attributes:
        at_once: how many batches of it may be under way.
        at_most: how many where they are late.
        halves: whether a long queue leaves in two; see `HALVED`.
        running: how many are.
        left: when the latest one left, by `time.monotonic()`.
    """

    def __init__(self, at_once: int, at_most: int) -> None:
        self.at_once = at_once
        self.at_most = at_most
        self.halves = False
        self.running = 0
        self.left = 0.0
        self.queue: deque[C] = deque()
        self._withdrawn = 0

    def may_leave(self, now: float) -> bool:
        """Whether another batch may leave."""
        if self.running < self.at_once:
            return True
        if self.halves and self.running == 1 and 2 * len(self.queue) >= HALVED:
            return True
        return self.running < self.at_most and now - self.left >= LATE_SECONDS

    def take(self) -> list[C]:
        """Removes the next batch from the queue: the first call, and what fits beside it."""
        batch: list[C] = []
        left = self._room()
        most = len(self.queue)
        if self.halves and not self.running and most >= HALVED:
            most = (most + 1) // 2
        while self.queue and len(batch) < most:
            call = self.queue[0]
            if call.withdrawn:
                self._withdrawn -= 1
            else:
                left -= call.space
                if batch and left < 0:
                    break
                call.sent = True
                batch.append(call)
            self.queue.popleft()
        return batch

    def withdraw(self, call: C) -> bool:
        """Takes a call back, where it was not sent yet; whether that could be done."""
        if call.sent or call.withdrawn:
            return call.withdrawn
        call.withdrawn = True
        self._withdrawn += 1
        if 2 * self._withdrawn > len(self.queue):  # seldom enough to cost next to nothing each
            self.queue = deque(each for each in self.queue if not each.withdrawn)
            self._withdrawn = 0
        return True

    def clear(self) -> list[C]:
        """Empties the queue; what was in it is not sent."""
        dropped = [call for call in self.queue if not call.withdrawn]
        self.queue.clear()
        self._withdrawn = 0
        for call in dropped:
            call.withdrawn = True
        return dropped

    @abstractmethod
    def send(self, calls: Sequence[C]) -> None:
        """Carries out the calls in one, and gives each its answer."""

    def start(self, calls: Sequence[C]) -> Pending[Any] | None:
        """Sends the calls without waiting; None where only `send` can."""
        return None

    def finish(self, calls: Sequence[C], answer: Any) -> list[C]:
        """Gives each its part of the answer to what `start` sent; those that `send` has to do."""
        raise NotImplementedError(f"{type(self).__name__} starts nothing")

    @abstractmethod
    def divides(self, error: BaseException) -> bool:
        """Whether calls that failed together may be sent again, each part by itself."""

    def _room(self) -> float:
        """How large a batch may be."""
        return 1.0


class Reads(Lane[Read], Generic[V]):
    """Reads of one kind, by their keys; a key that several ask for is read once.

    Args:
        at_once: see `Lane`.
        at_most: see `Lane`.
        read: the method of the backend.
        size: how many bytes it found.
        start: the one that starts the same read and does not wait, where there is one.
    """

    def __init__(
        self,
        at_once: int,
        at_most: int,
        read: Callable[[Sequence[str]], Mapping[str, V]],
        size: Callable[[Iterable[V]], int],
        start: Callable[[Sequence[str]], Pending[Any] | None] | None = None,
    ) -> None:
        super().__init__(at_once, at_most)
        self._read = read
        self._size = size
        self._start = start
        self._typical = 0.0

    def send(self, calls: Sequence[Read]) -> None:
        """One read of all keys."""
        self.finish(calls, self._read(_keys(calls)))

    def start(self, calls: Sequence[Read]) -> Pending[Any] | None:
        """The same, of what is not too large for an event loop."""
        if self._start is None:
            return None
        keys = _keys(calls)
        return self._start(keys) if len(keys) * self._typical <= LOOP_BYTES else None

    def finish(self, calls: Sequence[Read], answer: Mapping[str, V]) -> list[Read]:
        """The whole answer for each."""
        for call in calls:
            call.answer = answer
        if answer:
            mean = self._size(answer.values()) / len(answer)
            self._typical = max(mean, 0.9 * self._typical)
        return []

    def divides(self, error: BaseException) -> bool:
        """Reading again harms nothing; where the store is away, it is for all of them."""
        return not isinstance(error, Unavailable | AccessDenied | Closed)

    def _room(self) -> float:
        return min(MOST_KEYS, MOST_READ_BYTES / max(1.0, self._typical))


class Writes(Lane[Write]):
    """Transactions, each atomic by itself."""

    def __init__(
        self,
        at_once: int,
        at_most: int,
        commit: Callable[[Sequence[Transaction]], Sequence[Outcome]],
        start: Callable[[Sequence[Transaction]], Pending[list[Outcome | None]] | None]
        | None = None,
    ) -> None:
        super().__init__(at_once, at_most)
        self._commit = commit
        self._start = start

    def send(self, calls: Sequence[Write]) -> None:
        """One commit of all transactions."""
        self.finish(calls, self._commit([call.transaction for call in calls]))

    def start(self, calls: Sequence[Write]) -> Pending[list[Outcome | None]] | None:
        """The same, of what is not too large for an event loop."""
        if self._start is None or sum(map(BYTES_OF, calls)) > LOOP_BYTES:
            return None
        return self._start([call.transaction for call in calls])

    def finish(self, calls: Sequence[Write], answer: Sequence[Outcome | None]) -> list[Write]:
        """Its outcome for each, as far as there is one; and to each an error of its own."""
        for call, outcome in zip(calls, answer, strict=True):
            if isinstance(outcome, Failed):
                call.error = _copied(outcome.error) or outcome.error
            else:
                call.answer = outcome
        return [call for call in calls if call.answer is None and call.error is None]

    def divides(self, error: BaseException) -> bool:
        """Only where the error itself says that nothing was sent: no write is ever repeated."""
        return isinstance(error, InvalidArgument | Unsupported)


class Singles(Lane[Single]):
    """Calls that travel alone."""

    def send(self, calls: Sequence[Single]) -> None:
        """Calls the one function."""
        (call,) = calls
        call.answer = call.function()

    def divides(self, error: BaseException) -> bool:
        """There is nothing to divide."""
        return False


def carried_out(lane: Lane[C], batch: list[C]) -> Iterator[list[C]]:
    """Sends a batch, and in halves again where it fails for one of them; yields what is done.

    So a value that cannot be decoded fails its own caller: with one such value among n, the
    others have their answers after at most 2 log2(n) further calls.
    """
    parts = [batch]
    while parts:
        part = parts.pop()
        try:
            if len(part) == 1:
                part[0].context.run(lane.send, part)
            else:
                lane.send(part)
        except BaseException as error:
            if len(part) > 1 and lane.divides(error):
                half = len(part) // 2
                parts += [part[half:], part[:half]]  # the first half is sent first
                continue
            fail(lane, part, error)
        yield part


def fail(lane: Lane[C], calls: Sequence[C], error: BaseException) -> None:
    """Gives calls that failed together an error each."""
    for call in calls:
        call.error = error if len(calls) == 1 else _own(error, lane)


def _keys(calls: Sequence[Read]) -> Sequence[str]:
    if len(calls) == 1:
        return calls[0].keys
    return tuple(dict.fromkeys(chain.from_iterable(map(KEYS_OF, calls))))


def _own(error: BaseException, lane: Lane[C]) -> BaseException:
    """A copy for each caller: what one does with its exception must not show in another's."""
    mine = _copied(error)
    if mine is None:
        mine = OutcomeUnknown(str(error)) if isinstance(lane, Writes) else StorageError(str(error))
        mine.__cause__ = error.__cause__ or error
    return mine


def _copied(error: BaseException) -> BaseException | None:
    """A copy; None of an exception of a plugin whose arguments are not its own."""
    try:
        mine = copy.copy(error)
    except Exception:
        return None
    mine.__cause__ = error.__cause__ or error
    return mine


def _bytes(operation: object) -> int:
    if type(operation) is Put:  # most are
        return CALL_BYTES + len(operation.value)
    if isinstance(operation, Schedule):
        return CALL_BYTES + len(operation.payload)
    return CALL_BYTES
