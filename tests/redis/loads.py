"""Writers that go on whatever happens, and what must be true of what they wrote."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

from statekeep import Committed, OutcomeUnknown, Put, Storage, Transaction, Unavailable
from statekeep.errors import StorageError, VersionConflict


class Load:
    """Threads that write transactions of state, tag and timer, and count a key up.

    Attributes:
        acknowledged: the numbers whose transaction was acknowledged.
        unknown: those whose outcome nobody told.
        counted: acknowledged increments of each counter.
        uncounted: increments with an unknown outcome.
        errors: what should not have happened.
    """

    def __init__(
        self, storage: Storage, writers: int = 3, tag: Callable[[int], str] = "{{{}}}".format
    ) -> None:
        self.storage = storage
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.counted: dict[str, int] = {}
        self.uncounted: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self._tag = tag
        self._writers = writers
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(writers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def progress(self, count: int, seconds: float = 30.0) -> None:
        """Waits until so many more transactions were acknowledged."""
        goal, deadline = len(self.acknowledged) + count, time.monotonic() + seconds
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, f"no progress within {seconds} s"
            time.sleep(0.01)

    def _run(self, writer: int) -> None:
        try:
            while not self._stop.is_set():
                self._write()
                self._count(f"counter/{self._tag(writer)}")
        except BaseException as error:
            self.errors.append(error)

    def _write(self) -> None:
        with self._lock:
            number, self._next = self._next, self._next + 1
        tag = self._tag(number)
        try:
            with self.storage.transaction() as tx:
                tx.put(f"state/{tag}", b"%d" % number, expected=0)
                tx.add(f"tag/{tag}", b"%d" % number)
                tx.schedule(f"timers/{tag}", f"{number}", due=timedelta(hours=1))
        except OutcomeUnknown:
            self.unknown.add(number)
        except Unavailable:
            time.sleep(0.02)
        else:
            self.acknowledged.add(number)

    def _count(self, key: str) -> None:
        try:
            entry = self.storage.values.get(key)
            value, version = (int(entry.value), entry.version) if entry else (0, 0)
            self.storage.values.put(key, b"%d" % (value + 1), expected=version)
        except OutcomeUnknown:
            self.uncounted[key] = self.uncounted.get(key, 0) + 1
        except VersionConflict:
            # Only this writer writes the key: the write before, whose outcome was unknown, came
            # to be after it was read. It is among the uncounted.
            assert self.uncounted.get(key)
        except Unavailable:
            time.sleep(0.02)
        else:
            self.counted[key] = self.counted.get(key, 0) + 1

    def present(self, storage: Storage) -> set[int]:
        """The numbers whose transaction a storage holds; none of them by half."""
        assert not self.errors, self.errors
        present: set[int] = set()
        for number in range(self._next):
            tag = self._tag(number)
            entry = _patiently(lambda t=tag: storage.values.get(f"state/{t}"))
            members = _patiently(lambda t=tag: storage.sets.members(f"tag/{t}"))
            messages = _patiently(lambda t=tag: list(storage.deferred.scan(f"timers/{t}")))
            parts = [entry is not None, bool(members), bool(messages)]
            assert len(set(parts)) == 1, f"half of transaction {number}: {parts}"
            if entry is not None:
                present.add(number)
        return present

    def verify(self) -> None:
        """Every acknowledged transaction is there, whole; none of the others is half there."""
        present = self.present(self.storage)
        assert self.acknowledged <= present, sorted(self.acknowledged - present)[:20]
        assert present <= self.acknowledged | self.unknown
        for key, counted in self.counted.items():
            entry = _patiently(lambda k=key: self.storage.values.get(k))
            assert entry is not None
            assert counted <= int(entry.value) <= counted + self.uncounted.get(key, 0), key


def _patiently(read):  # type: ignore[no-untyped-def]  # whatever it reads
    for _ in range(200):
        try:
            return read()
        except Unavailable:
            time.sleep(0.05)
    return read()


def put_many(storage: Storage, keys: list[str]) -> list[StorageError | None]:
    """Puts each key in a transaction of its own, all in one commit; the errors."""
    outcomes = storage.backend.commit([Transaction((Put(key, key.encode()),)) for key in keys])
    return [None if isinstance(each, Committed) else each.error for each in outcomes]  # type: ignore[union-attr]
