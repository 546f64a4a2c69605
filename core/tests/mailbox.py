"""A backend whose started calls are answered when a test says so."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

from statekeep import Entry, Outcome, Transaction
from statekeep.backend import Backend
from statekeep.layers.base import Layer
from statekeep.pending import Pending
from statekeep_memory.backend import MemoryBackend


class Letter(Pending[Any]):
    """A call under way. Its answer is made where it is sent, and received once it is delivered.

    Attributes:
        keys: what was asked for or written.
        answer: what `receive` returns, or raises.
        state: `under way`, `answered` or `abandoned`.
    """

    def __init__(self, keys: list[str], answer: Any, seconds: float) -> None:
        self.keys = keys
        self.answer = answer
        self.state = "under way"
        self._deadline = time.monotonic() + seconds
        self._ours, self._theirs = socket.socketpair()

    @property
    def deadline(self) -> float:
        return self._deadline

    def deliver(self, answer: Any = None) -> None:
        """The answer, another one or an error comes in."""
        self.answer = self.answer if answer is None else answer
        self._theirs.send(b".")

    def fileno(self) -> int:
        return self._ours.fileno()

    def receive(self) -> Any:
        self._ours.setblocking(False)
        try:
            self._ours.recv(1)
        except BlockingIOError:
            if time.monotonic() < self._deadline:
                return None
            self.answer = TimeoutError("late")
        self._end("answered")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def abandon(self) -> None:
        if self.state == "under way":
            self._end("abandoned")

    def _end(self, state: str) -> None:
        self.state = state
        self._ours.close()
        self._theirs.close()


class Mailbox(Layer):
    """A memory backend that starts calls, as long as it is told to.

    Attributes:
        letters: the calls that were started, in order.
        blocking: the keys of the calls that were made in a thread.
        starts: whether calls are started; else the answer is None.
        prompt: whether answers are delivered at once.
        failing: raised by the next start.
        seconds: until the deadline.
    """

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.letters: list[Letter] = []
        self.blocking: list[list[str]] = []
        self.starts = True
        self.prompt = False
        self.failing: BaseException | None = None
        self.seconds = 60.0

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        return self._post(list(keys), lambda: self.inner.get_many(keys))

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        return self._post(_keys(transactions), lambda: list(self.inner.commit(transactions)))

    def _post(self, keys: list[str], answer: Any) -> Letter | None:
        error, self.failing = self.failing, None
        if error is not None:
            raise error
        if not self.starts:
            return None
        letter = Letter(keys, answer(), self.seconds)
        self.letters.append(letter)
        if self.prompt:
            letter.deliver()
        return letter

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self.blocking.append(list(keys))
        return super().get_many(keys)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        self.blocking.append(_keys(transactions))
        return super().commit(transactions)


def _keys(transactions: Sequence[Transaction]) -> list[str]:
    return [getattr(each, "key", "") for one in transactions for each in one.operations]


def written(layer: Backend) -> tuple[int, int]:
    """Bytes that a composed backend was given to write, and those that it stored of them."""
    found = layer.usage().compression
    assert found is not None
    return found.written, found.written_stored
