"""What the tests of `statekeep.aio` share: a backend that can be held, and coroutines as tests."""

from __future__ import annotations

import asyncio
import copy
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from statekeep import DeferredMessage, Entry, Outcome, Transaction
from statekeep.aio import AsyncStorage
from statekeep.layers.base import Layer
from statekeep_memory.backend import MemoryBackend

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 30.0


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """A coroutine function as a test, in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE))

    return run


async def eventually(probe: Callable[[], object], what: str = "it") -> None:
    """Waits until the probe gives something true."""
    deadline = time.monotonic() + PATIENCE / 3
    while not probe():
        assert time.monotonic() < deadline, f"{what} never came"
        await asyncio.sleep(0.001)


async def at_rest(storage: AsyncStorage) -> None:
    """A thread that carried something out takes the next batch too, unless it is idle."""
    combiner = storage._session._combiner
    await eventually(lambda: combiner._idle == combiner.counters().threads, "rest of the threads")


def threads() -> list[str]:
    """The threads of statekeep that are alive."""
    return [each.name for each in threading.enumerate() if each.name.startswith("statekeep-")]


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Fails where a thread of statekeep is alive at the end that was not at the beginning."""
    before = set(threading.enumerate())
    yield
    left = [each for each in threading.enumerate() if each not in before]
    assert not [each for each in left if each.name.startswith("statekeep-")], left


class Gated(Layer):
    """A memory backend behind a gate: notes what comes, and lets it pass when it is open.

    Attributes:
        calls: what came: the keys of a read, or the keys written by a commit, one list for each.
        poison: keys whose reading or writing fails, with the error.
        after: called after a commit was applied, before its answer is given.
    """

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.calls: list[tuple[str, list[str]]] = []
        self.poison: dict[str, BaseException] = {}
        self.after: Callable[[], None] = lambda: None
        self.closed = False
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        """Closes the gate."""
        self._open.clear()

    def release(self) -> None:
        """Opens it."""
        self._open.set()

    def of(self, kind: str) -> list[list[str]]:
        """What came of one kind."""
        return [keys for name, keys in self.calls if name == kind]

    def _pass(self, kind: str, keys: Sequence[str]) -> None:
        self.calls.append((kind, list(keys)))
        assert self._open.wait(PATIENCE)
        for key in keys:
            if key in self.poison:
                raise copy.copy(self.poison[key])

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self._pass("read", keys)
        return super().get_many(keys)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        self._pass("members", keys)
        return super().members_many(keys)

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        self._pass("claim", [queue])
        return super().claim(queue, limit=limit, lease=lease)

    def ping(self) -> None:
        self._pass("ping", [])
        super().ping()

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        operations = [each for transaction in transactions for each in transaction.operations]
        self._pass("write", [getattr(each, "key", "") for each in operations])
        outcomes = super().commit(transactions)
        self.after()
        return outcomes

    def close(self) -> None:
        self.closed = True
        super().close()
