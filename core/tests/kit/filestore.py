"""A durable, shared backend in one file, sound but slow: it shows that the kit's tests of
processes and crashes pass on one and catch the defects planted below."""

from __future__ import annotations

import fcntl
import functools
import os
import pickle
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import evolve
from statekeep.backend import Backend, BackendStats, Capabilities
from statekeep.clock import now_micros
from statekeep.model import (
    Add,
    DeferredMessage,
    Entry,
    Outcome,
    Page,
    Record,
    RecordKind,
    Transaction,
)
from statekeep_memory.backend import MemoryBackend
from statekeep_memory.state import State

DEFECTS: dict[str, tuple[Callable[[Path], Backend], str]] = {}


def caught_by(test: str) -> Callable[[type[FileBackend]], type[FileBackend]]:
    """As in `planted`."""

    def register(backend: type[FileBackend]) -> type[FileBackend]:
        DEFECTS[backend.__name__] = (backend, test)
        return backend

    return register


class FileBackend(MemoryBackend):
    """Reads the whole state from a file before each call, and replaces the file after a write."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._turn = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        return evolve(super().capabilities, durable=True, shared=True)

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        with self._loaded():
            return super().get_many(keys)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        with self._loaded():
            return super().members_many(keys)

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        with self._loaded():
            return super().members(key, limit=limit, cursor=cursor)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        with self._loaded():
            return super().contains(key, members)

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        with self._loaded():
            return super().messages_many(names)

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        with self._loaded():
            return super().scan(kind, prefix=prefix, limit=limit, cursor=cursor)

    def stats(self) -> BackendStats:
        with self._loaded():
            return super().stats()

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        with self._loaded(write=True):
            return super().claim(queue, limit=limit, lease=lease)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        with self._loaded(write=True):
            return super().commit(transactions)

    def purge(self) -> int:
        with self._loaded(write=True):
            return super().purge()

    def after_fork(self) -> None:
        super().after_fork()
        self._turn = threading.Lock()

    @contextmanager
    def _loaded(self, write: bool = False) -> Iterator[None]:
        with self._turn, self.locked(), self._lock_file() as file:
            self.lock(file)
            try:
                self.load()
                yield
                if write and not self._closed:
                    self.save()
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may have the file open too

    def _lock_file(self) -> Any:
        return self._path.with_suffix(".lock").open("w")

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def lock(self, file: Any) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def load(self) -> None:
        self._state = State(now_micros)
        if self._path.exists():
            fill(self._state, pickle.loads(self._path.read_bytes()))

    def save(self) -> None:
        replace(self._path, contents(self._state))


def contents(state: State) -> dict[str, Any]:
    """A state as plain data."""
    return {
        "values": dict(state.values),
        "sets": {key: list(members) for key, members in state.sets.items()},
        "messages": list(state.messages.values()),
        "floor": state._floor,
    }


def fill(state: State, data: dict[str, Any]) -> None:
    """The inverse."""
    for key, entry in data["values"].items():
        state.values[key] = entry
    for key, members in data["sets"].items():
        state._add(Add(key, members))
    for message in data["messages"]:
        state._keep(message)
    state._floor = data["floor"]


def replace(path: Path, data: object) -> None:
    """Writes a file whole or not at all. Killing the process loses nothing that the kernel has."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        pickle.dump(data, file)
    Path(name).replace(path)


def opener(kind: type[FileBackend], path: Path) -> Callable[[], Backend]:
    """A picklable opener."""
    return functools.partial(kind, path)


@caught_by("test_processes_lose_no_update")
class NoFileLock(FileBackend):
    """Locks out the threads of its own process and no other."""

    def lock(self, file: Any) -> None:
        pass


@caught_by("test_claims_of_processes_never_share_a_message")
class ClaimsWithoutFileLock(FileBackend):
    """Selects and marks messages under two locks."""

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        with self._loaded():
            claimed = MemoryBackend.claim(self, queue, limit=limit, lease=lease)
        time.sleep(0.02)
        with self._loaded(write=True):
            for message in claimed:
                self._state._keep(message)
        return claimed


@caught_by("test_crash_of_a_writer_loses_nothing_acknowledged")
class AcknowledgesEarly(FileBackend):
    """Write-behind: every thousandth commit reaches the file, the others when there is time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._waiting = 0

    def load(self) -> None:
        if not self._waiting:
            super().load()

    def save(self) -> None:
        self._waiting = (self._waiting + 1) % 1000
        if not self._waiting:
            super().save()

    def close(self) -> None:
        if not self._closed and self._waiting:
            super().save()
        super().close()


@caught_by("test_crash_of_a_writer_loses_nothing_acknowledged")
class TwoFiles(FileBackend):
    """Sets and messages are in another file, written after that of the values."""

    def load(self) -> None:
        super().load()
        other = self._path.with_suffix(".other")
        if other.exists():
            for key in [*self._state.sets]:
                self._state.sets.drop(key)
            for name in [*self._state.messages]:
                self._state.messages.drop(name)
            fill(self._state, pickle.loads(other.read_bytes()) | {"values": {}})

    def save(self) -> None:
        super().save()
        time.sleep(0.01)
        replace(self._path.with_suffix(".other"), contents(self._state))


@caught_by("test_lifecycle_reopening_shows_what_is_declared")
class ForgetsOnOpening(FileBackend):
    """Opening creates the tables anew."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        path.unlink(missing_ok=True)


@caught_by("test_processes_see_each_others_writes")
class CachesWhatItRead(FileBackend):
    """A cache that nobody tells of the writes of others."""

    def load(self) -> None:
        if not self._state.values:
            super().load()
