"""Calls that were sent and whose answers come later: for event loops, which wait for many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from statekeep.errors import StorageError

T = TypeVar("T")


class CallAgain(Exception):
    """A pending call ended without an answer and applied nothing: the blocking method may have one.

    It has the code for whatever it was: a connection that has to be opened, a refusal that has to
    be explained, a statement that the server has forgotten.
    """


class Pending(ABC, Generic[T]):
    """A call under way. One thread uses it, until `receive` answers or raises, or `abandon`."""

    @property
    @abstractmethod
    def deadline(self) -> float:
        """When `receive` raises although nothing came, by `time.monotonic()`; `inf` for never."""

    @abstractmethod
    def fileno(self) -> int:
        """What becomes readable when there is something to receive."""

    @abstractmethod
    def receive(self) -> T | None:
        """The answer, or None as long as it is not all there. Never waits.

        Raises:
            CallAgain: nothing was applied, and the blocking method is to be called.
            StorageError: what the blocking method would raise.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Lets go of the call, and of the connection on which its answer would come.

        Nothing happens where `receive` has answered or raised.
        """


class Wire(Protocol):
    """What a driver knows of one answer that is outstanding."""

    @property
    def deadline(self) -> float:
        """See `Pending.deadline`."""

    def fileno(self) -> int:
        """See `Pending.fileno`."""

    def received(self) -> Any | None:
        """See `Pending.receive`; its connection says afterwards whether it is of further use."""


Steps: TypeAlias = Generator[Wire, Any, T]
"""A call over one connection: sends, yields what is outstanding, gets what was received (or the
error that came of it), perhaps sends again, and returns the answer."""


class Underway(Pending[T]):
    """A call on a connection that is its own until it ends.

    Args:
        steps: the call; its first request is sent by this, and what that raises is raised.
        give_back: takes the connection back, whole or, where its answer is outstanding, broken.
    """

    def __init__(self, steps: Steps[T], give_back: Callable[[], None]) -> None:
        self._steps = steps
        self._give_back: Callable[[], None] | None = give_back
        self._wire = next(steps)

    @property
    def deadline(self) -> float:
        """See `Pending.deadline`."""
        return self._wire.deadline

    def fileno(self) -> int:
        """See `Pending.fileno`."""
        return self._wire.fileno()

    def receive(self) -> T | None:
        """See `Pending.receive`."""
        try:
            while True:
                try:
                    received = self._wire.received()
                except (CallAgain, StorageError) as error:
                    self._wire = self._steps.throw(error)
                    continue
                if received is None:
                    return None
                self._wire = self._steps.send(received)
        except StopIteration as end:
            self.abandon()
            answer: T = end.value
            return answer
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """See `Pending.abandon`."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


def begun(steps: Steps[T], give_back: Callable[[], None]) -> Underway[T] | None:
    """A call whose first request was sent; None where it cannot be, by `CallAgain`, or has none.

    The connection is given back then, and where anything else is raised.
    """
    try:
        return Underway(steps, give_back)
    except (CallAgain, StopIteration):
        give_back()
        return None
    except BaseException:
        give_back()
        raise


class Finishing(Pending[T]):
    """A pending call of a layer: that of the backend inside, and what is to be done at its end.

    Args:
        inner: the call inside.
        answered: makes the answer of it.
        failed: told of an error, and of `CallAgain` where it is abandoned.
    """

    def __init__(
        self,
        inner: Pending[T],
        answered: Callable[[T], T],
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._inner = inner
        self._answered = answered
        self._failed = failed

    @property
    def deadline(self) -> float:
        """See `Pending.deadline`."""
        return self._inner.deadline

    def fileno(self) -> int:
        """See `Pending.fileno`."""
        return self._inner.fileno()

    def receive(self) -> T | None:
        """See `Pending.receive`."""
        try:
            answer = self._inner.receive()
        except BaseException as error:
            self._fail(error)
            raise
        if answer is None:
            return None
        self._failed = None
        return self._answered(answer)

    def abandon(self) -> None:
        """See `Pending.abandon`."""
        self._inner.abandon()
        self._fail(CallAgain())

    def _fail(self, error: BaseException) -> None:
        """Once, and not after an answer: what was counted or cached for the call stays so."""
        failed, self._failed = self._failed, None
        if failed is not None:
            failed(error)


def finishing(
    start: Callable[[], Pending[T] | None],
    answered: Callable[[T], T],
    failed: Callable[[BaseException], None],
) -> Finishing[T] | None:
    """A call that begins now; None where it does not.

    `failed` is told of that too: of what `start` raises, or of `CallAgain`.
    """
    try:
        pending = start()
    except BaseException as error:
        failed(error)
        raise
    if pending is None:
        failed(CallAgain())
        return None
    return Finishing(pending, answered, failed)
