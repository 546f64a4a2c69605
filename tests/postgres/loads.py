"""Writer processes that go on whatever happens, and what must be true of what they wrote."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from types import TracebackType
from typing import Any, TypeVar

import statekeep
from attrs import define, field
from statekeep import OutcomeUnknown, Storage, Unavailable, VersionConflict
from statekeep.testing.children import START_SECONDS, start, stop

T = TypeVar("T")

LEDGERS = 2
"""Keys to which all writers append, so that they meet."""


@define
class Record:
    """What a writer was told. A transaction's number, or the line that it appended to a ledger."""

    acknowledged: set[str] = field(factory=set)
    unknown: set[str] = field(factory=set)
    refused: set[str] = field(factory=set)
    blind: Counter[str] = field(factory=Counter)
    problems: Counter[str] = field(factory=Counter)

    def note(self, name: str, attempt: Callable[[], object]) -> bool:
        """Tries a write and notes its outcome; whether the server could be reached."""
        try:
            attempt()
        except OutcomeUnknown as error:
            self.unknown.add(name)
            self.problems[type(error).__name__] += 1
            return False
        except Unavailable as error:
            self.refused.add(name)
            self.problems[type(error).__name__] += 1
            return False
        except VersionConflict:
            self.refused.add(name)
        else:
            self.acknowledged.add(name)
        return True


def write(options: dict[str, Any], writer: int, enough: Event, done: Any, to: Connection) -> None:
    """What a writer process runs: three kinds of write, in turns, until it is enough."""
    record = Record()
    with statekeep.open({"postgres": options}) as storage:
        number = 0
        while not enough.is_set():
            number += 1
            name = f"{writer}.{number}"
            ledger = f"ledger/{number % LEDGERS}"
            fine = record.note(f"state {name}", partial(_transaction, storage, name))
            fine &= record.note(f"line {name}", partial(_append, storage, ledger, name))
            fine &= record.note(
                f"blind {name}", partial(storage.values.put, f"blind/{writer}", b"whatever")
            )
            done.value += fine
            if not fine:
                time.sleep(0.02)
    to.send(record)
    to.close()


def _transaction(storage: Storage, name: str) -> None:
    with storage.transaction() as tx:
        tx.put(f"state/{name}", b"x" * 500, expected=0)
        tx.add("names", name.encode())
        tx.schedule("timers", name, due=timedelta(hours=1))


def _append(storage: Storage, key: str, line: str) -> None:
    """One conditional write, never tried again here: a conflict is told by the caller's record."""
    entry = storage.values.get(key)
    value, version = (entry.value, entry.version) if entry else (b"", 0)
    storage.values.put(key, value + line.encode() + b"\n", expected=version)


class Load:
    """Writer processes on one storage, for the length of a block.

    Attributes:
        record: what all writers were told, after the block.
    """

    def __init__(self, options: dict[str, Any], writers: int = 3) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.record = Record()
        self._options = {"minimum_idle": 0, **options}
        self._enough = spawn.Event()
        self._counts = [spawn.Value("q", 0) for _ in range(writers)]
        self._running: list[tuple[Any, Connection]] = []

    def __enter__(self) -> Load:
        with statekeep.open({"postgres": self._options}) as storage:
            for writer in range(len(self._counts)):
                storage.values.put(f"blind/{writer}", b"")
                self.record.blind[f"blind/{writer}"] = _version(storage, f"blind/{writer}")
        for writer, count in enumerate(self._counts):
            ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
            process = start(write, self._options, writer, self._enough, count, theirs)
            theirs.close()
            self._running.append((process, ours))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._enough.set()
        try:
            for process, ours in self._running if error is None else []:
                assert ours.poll(START_SECONDS), "a writer hangs"
                try:
                    self._take(ours.recv())
                except EOFError:
                    process.join(5)
                    raise AssertionError(f"a writer died: {process.exitcode}") from None
        finally:
            for process, ours in self._running:
                ours.close()
                stop(process)

    def _take(self, record: Record) -> None:
        self.record.acknowledged |= record.acknowledged
        self.record.unknown |= record.unknown
        self.record.refused |= record.refused
        self.record.problems += record.problems

    def progress(self, rounds: int = 20, seconds: float = 30.0) -> None:
        """Waits until every writer did so many more rounds without a failure."""
        goals = [count.value + rounds for count in self._counts]
        deadline = time.monotonic() + seconds
        while any(count.value < goal for count, goal in zip(self._counts, goals, strict=True)):
            assert time.monotonic() < deadline, f"no progress within {seconds} s"
            time.sleep(0.01)

    def verify(self, storage: Storage) -> None:
        """All acknowledged is there, once and whole; of the rest, only what was left unknown."""
        found: Counter[str] = Counter()
        states = {key.removeprefix("state/") for key, _ in storage.values.scan("state/")}
        assert states == {member.decode() for member in storage.sets.members("names")}
        assert states == {message.id for message in storage.deferred.scan("timers")}
        found.update(f"state {name}" for name in states)
        for number in range(LEDGERS):
            entry = patiently(partial(storage.values.get, f"ledger/{number}"))
            assert entry is not None
            found.update(f"line {line}" for line in entry.value.decode().splitlines())
        told = {each for each in self.record.acknowledged if not each.startswith("blind ")}
        unknown = {each for each in self.record.unknown if not each.startswith("blind ")}
        assert told, "nothing was acknowledged at all"
        assert not told - found.keys(), f"lost: {sorted(told - found.keys())[:10]}"
        more = found.keys() - told - unknown
        assert not more, f"there, though it was refused: {sorted(more)[:10]}"
        assert max(found.values()) == 1, f"twice: {found.most_common(3)}"
        self._verify_blind(storage)

    def _verify_blind(self, storage: Storage) -> None:
        """Unconditional writes: a version grows by one with each, so a repetition shows."""
        for key, first in self.record.blind.items():
            start = f"blind {key.removeprefix('blind/')}."
            told = sum(each.startswith(start) for each in self.record.acknowledged)
            unknown = sum(each.startswith(start) for each in self.record.unknown)
            written = _version(storage, key) - first
            assert told <= written <= told + unknown, f"{key}: {told}, {unknown}, {written}"


def _version(storage: Storage, key: str) -> int:
    entry = storage.values.get(key)
    assert entry is not None
    return entry.version


def patiently(read: Callable[[], T], seconds: float = 20.0) -> T:
    """What a call gives once it is no longer Unavailable."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(Unavailable):
            return read()
        time.sleep(0.05)
    return read()
