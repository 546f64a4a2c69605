"""What the topics of the kit share: fixtures, fresh names, and waiting that always ends."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import pytest

from statekeep.backend import Backend
from statekeep.layers.base import Layer
from statekeep.model import (
    DeferredMessage,
    Entry,
    Operation,
    Outcome,
    Record,
    RecordKind,
    Transaction,
)
from statekeep.storage import Storage

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

Opener: TypeAlias = Callable[[], Backend]
Clock: TypeAlias = Callable[[], int]
Clocked: TypeAlias = Callable[[Clock], Backend]

HOUR = timedelta(hours=1)
PAST = timedelta(seconds=-5)
SHORT = timedelta(milliseconds=30)
"""A lease or time to live that a test waits out."""


def heavy(test: F) -> F:
    """Names a test that moves much data; `pytest -k "not heavy"` leaves those out.

    An attribute and not a mark, so that no author has to register one: `-k` sees both.
    """
    test.heavy = True  # type: ignore[attr-defined]  # functions take attributes
    return test


class Kit:
    """The fixtures that every topic uses.

    Attributes:
        patience: seconds until a test that waits for something gives up.
    """

    patience: float = 30.0

    @pytest.fixture
    def opener(self) -> Opener:
        """A picklable callable that returns a new, set up backend over the same store each time.

        Where the backend is not shared, each call gives a store of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} must override the fixture `opener`")

    @pytest.fixture
    def clocked(self) -> Clocked | None:
        """Makes a backend that takes its time from a function; None where that cannot be."""
        return None

    @pytest.fixture
    def backend(self, opener: Opener) -> Iterator[Backend]:
        """An open backend, closed at the end of the test."""
        backend = opener()
        yield backend
        backend.close()

    @pytest.fixture
    def storage(self, backend: Backend) -> Storage:
        """The backend as applications see it."""
        return Storage(backend)

    @pytest.fixture
    def prefix(self) -> str:
        """What this test's names begin with: a store may be used again, and by others meanwhile.

        The braces are a hash tag, which keeps the test's records in one slot of a Redis Cluster.
        """
        return fresh_prefix()

    def eventually(self, probe: Callable[[], T], what: str) -> T:
        """Calls `probe` until it returns something true; fails the test when it never does."""
        deadline = time.monotonic() + self.patience
        while not (found := probe()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {self.patience} s")
            time.sleep(0.005)
        return found

    def in_threads(self, *functions: Callable[[], T]) -> list[T]:
        """Runs the functions at once; their results in order, or the first error."""
        return in_threads(functions, self.patience)


def fresh_prefix() -> str:
    """A prefix that nobody else uses, with a hash tag."""
    return f"kit/{{{uuid.uuid4().hex[:20]}}}/"


def in_threads(functions: Sequence[Callable[[], T]], patience: float) -> list[T]:
    """Runs the functions in a thread each, all beginning together.

    Raises:
        AssertionError: one did not end in time. Any error of a function is raised as it is.
    """
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    start = threading.Barrier(len(functions))

    def body(number: int, function: Callable[[], T]) -> None:
        try:
            start.wait(patience)
            results[number] = function()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=body, args=item, daemon=True) for item in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    assert len(results) == len(functions), f"a thread did not end within {patience} s"
    return [results[number] for number in range(len(functions))]


def commit(backend: Backend, *operations: Operation) -> Outcome:
    """The outcome of one transaction."""
    (outcome,) = backend.commit((Transaction(operations),))
    return outcome


def scan_all(backend: Backend, kind: RecordKind, prefix: str, limit: int = 100) -> Iterator[Record]:
    """All records of a kind, page by page."""
    cursor = None
    while True:
        page = backend.scan(kind, prefix=prefix, limit=limit, cursor=cursor)
        yield from page.items
        cursor = page.cursor
        if cursor is None:
            return


def snapshot(
    storage: Storage, prefix: str
) -> tuple[dict[str, Entry], dict[str, frozenset[bytes]], list[DeferredMessage]]:
    """Everything under a prefix, of all three kinds."""
    messages = [
        record
        for record in scan_all(storage.backend, RecordKind.DEFERRED, prefix)
        if isinstance(record, DeferredMessage)
    ]
    return (
        dict(storage.values.scan(prefix)),
        {key: storage.sets.members(key) for key in storage.sets.scan(prefix)},
        sorted(messages, key=lambda message: message.name),
    )


class Counting(Layer):
    """Counts the commits that reach the backend."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.commits = 0

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """Counts, and hands on."""
        self.commits += 1
        return super().commit(transactions)
