"""A writer whose every transaction can be told from a restored database."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType

import pytest
from statekeep import Storage, VersionConflict

PATIENCE = 60.0


class Ledger:
    """Writes numbered transactions, one after the other, for the length of a block.

    Each puts a state, counts a counter up, adds to a set and schedules a message; so whatever a
    backup holds must be the first so many of them, each whole.

    Attributes:
        versions: of the states, in the order of their numbers; as many as were acknowledged.
    """

    def __init__(self, storage: Storage) -> None:
        self.versions: list[int] = []
        self._storage = storage
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failure: BaseException | None = None

    def __enter__(self) -> Ledger:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert error is not None or self._failure is None, self._failure

    def progress(self, count: int) -> int:
        """Waits until so many more were acknowledged; how many that are in all."""
        goal, deadline = len(self.versions) + count, time.monotonic() + PATIENCE
        while len(self.versions) < goal:
            assert time.monotonic() < deadline, f"no progress: {self._failure!r}"
            time.sleep(0.005)
        return len(self.versions)

    def _run(self) -> None:
        try:
            counter = 0
            while not self._stop.is_set():
                counter = self._write(len(self.versions), counter)
        except BaseException as error:
            self._failure = error

    def _write(self, number: int, counter: int) -> int:
        with self._storage.transaction() as tx:
            tx.put(f"state/{number}", b"%d" % number, expected=0)
            tx.put("counter", b"%d" % (number + 1), expected=counter)
            tx.add("tag", b"%d" % number)
            tx.schedule("timers", f"{number}", due=timedelta(hours=1), payload=b"%d" % number)
        self.versions.append(tx.versions[f"state/{number}"])
        return tx.versions["counter"]


def verify(storage: Storage, versions: Sequence[int], least: int, most: int | None = None) -> int:
    """Compares a restored storage with what was acknowledged, and writes on; what it holds.

    Args:
        storage: on the restored database.
        versions: of what was acknowledged.
        least: so many were acknowledged when the backup began: they must be there.
        most: more than these must not be there; without it, one that was under way may be.
    """
    found = {int(key.removeprefix("state/")): e for key, e in storage.values.scan("state/")}
    count = len(found)
    assert sorted(found) == list(range(count)), "no prefix of what was written"
    assert least <= count <= (len(versions) + 1 if most is None else most)
    told = versions[:count]
    assert [found[number].version for number in range(len(told))] == list(told)
    assert all(entry.value == b"%d" % number for number, entry in found.items())
    assert storage.sets.members("tag") == {b"%d" % number for number in found}
    assert {m.id: m.payload for m in storage.deferred.scan("timers")} == {
        f"{number}": b"%d" % number for number in found
    }
    counter = storage.values.get("counter")
    assert counter is not None and int(counter.value) == count
    _write_on(storage, found[0].version, count)
    return count


def _write_on(storage: Storage, version: int, count: int) -> None:
    """Conditions hold and fail as before, and what is new is new."""
    following = storage.values.put("state/0", b"again", expected=version)
    assert following == version + 1
    with pytest.raises(VersionConflict):
        storage.values.put("state/0", b"never", expected=version)
    with pytest.raises(VersionConflict):
        storage.values.put(f"state/{count - 1}", b"never", expected=0)
    assert storage.values.put(f"state/{count}", b"new", expected=0) > version
    assert storage.deferred.cancel("timers", "0")
