"""A writer whose every transaction can be told from a restored database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from statekeep import Storage, VersionConflict

from tests.operations.writer import Writer


class Ledger(Writer):
    """Writes numbered transactions, one after the other.

    Each puts a state, counts a counter up, adds to a set and schedules a message; so whatever a
    backup holds must be the first so many of them, each whole.

    Attributes:
        versions: of the states, in the order of their numbers; as many as were acknowledged.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.versions: list[int] = []
        self._storage = storage
        self._counter = 0

    def step(self) -> bool:
        """The next transaction."""
        number = len(self.versions)
        with self._storage.transaction() as tx:
            tx.put(f"state/{number}", b"%d" % number, expected=0)
            tx.put("counter", b"%d" % (number + 1), expected=self._counter)
            tx.add("tag", b"%d" % number)
            tx.schedule("timers", f"{number}", due=timedelta(hours=1), payload=b"%d" % number)
        self._counter = tx.versions["counter"]
        self.versions.append(tx.versions[f"state/{number}"])
        return True


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
