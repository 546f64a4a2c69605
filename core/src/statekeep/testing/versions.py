"""Versions: positive, growing with every write, and never used twice for a key."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from statekeep.backend import Backend
from statekeep.clock import now_micros
from statekeep.model import (
    Committed,
    Delete,
    Entry,
    KeyValueRecord,
    Operation,
    Put,
    Restore,
    Transaction,
)
from statekeep.storage import Storage
from statekeep.testing.support import SHORT, Clocked, Kit, commit

DAY = 86_400_000_000


def growing(versions: list[int]) -> bool:
    """Whether each is higher than the one before."""
    return all(earlier < later for earlier, later in pairwise(versions))


def versions_of(backend: Backend, key: str, operations: list[Operation]) -> list[int]:
    """The versions that the operations gave, committed in one call; deletions left out."""
    outcomes = backend.commit([Transaction((operation,)) for operation in operations])
    assert all(isinstance(outcome, Committed) for outcome in outcomes), outcomes
    versions = [outcome.versions[key] for outcome in outcomes if isinstance(outcome, Committed)]
    return [version for version in versions if version]


class VersionsTests(Kit):
    """Section 3.3 of the contract."""

    def test_versions_of_a_creation_are_near_the_clock(self, storage: Storage, prefix: str) -> None:
        """A new key's version is the server's time in microseconds (a day of skew is let pass)."""
        version = storage.values.put(prefix + "key", b"")
        assert version > 0
        assert abs(version - now_micros()) < DAY

    def test_versions_of_an_update_add_one(self, storage: Storage, prefix: str) -> None:
        """Every put of a key that is there adds one, conditional or not, changed or not."""
        key = prefix + "key"
        first = storage.values.put(key, b"same")
        assert storage.values.put(key, b"same") == first + 1
        assert storage.values.put(key, b"other", expected=first + 1) == first + 2
        assert storage.values.put_many({key: b"many"}) == {key: first + 3}
        entry = storage.values.get(key)
        assert entry is not None and entry.version == first + 3

    def test_versions_returned_are_those_read(self, storage: Storage, prefix: str) -> None:
        """get, get_many and scan show the version that the write returned."""
        keys = [f"{prefix}{number}" for number in range(20)]
        written = storage.values.put_many(dict.fromkeys(keys, b"x"))
        assert set(written) == set(keys)
        assert {key: e.version for key, e in storage.values.get_many(keys).items()} == written
        assert {key: e.version for key, e in storage.values.scan(prefix)} == written

    def test_versions_of_a_deletion_are_zero(self, backend: Backend, prefix: str) -> None:
        """Absent is version 0, and a transaction says so of the keys that it deleted."""
        key = prefix + "key"
        commit(backend, Put(key, b""))
        for deleted in (frozenset({key}), frozenset()):
            outcome = commit(backend, Delete(key))
            assert isinstance(outcome, Committed)
            assert dict(outcome.versions) == {key: 0} and outcome.deleted == deleted

    def test_versions_never_come_back_after_deletion(self, storage: Storage, prefix: str) -> None:
        """Deleted and created again as fast as can be, a key's versions only grow."""
        key, versions = prefix + "key", []
        for number in range(100):
            versions.append(storage.values.put(key, b"%d" % number, expected=0))
            storage.values.delete(key)
        assert growing(versions)

    def test_versions_never_come_back_within_one_call(self, backend: Backend, prefix: str) -> None:
        """A batch of deletions and creations, which a server may run at one instant."""
        key = prefix + "key"
        pairs: list[Operation] = [Put(key, b"", 0), Delete(key)] * 100
        assert growing(versions_of(backend, key, pairs))

    def test_versions_never_come_back_after_many_updates(
        self, backend: Backend, prefix: str
    ) -> None:
        """Updates that ran ahead of the clock, then a deletion: creation goes on above them."""
        key = prefix + "key"
        operations: list[Operation] = [Put(key, b"") for _ in range(3000)]
        for _ in range(3):
            before = versions_of(backend, key, [*operations, Delete(key)])
            after = versions_of(backend, key, [Put(key, b"", 0), Delete(key)])
            assert growing(before + after)

    def test_versions_never_come_back_in_separate_calls(
        self, storage: Storage, backend: Backend, prefix: str
    ) -> None:
        """The same with each step in a call of its own."""
        key = prefix + "key"
        versions = versions_of(backend, key, [Put(key, b"") for _ in range(2000)])
        storage.values.delete(key)
        versions.append(storage.values.put(key, b""))
        storage.values.delete(key)
        versions.append(storage.values.put(key, b""))
        assert growing(versions)

    def test_versions_never_come_back_after_expiry(self, storage: Storage, prefix: str) -> None:
        """A value that expired was deleted too: the next creation is above it."""
        if not storage.capabilities.expiry:
            pytest.skip("expiry is not declared")
        key, versions = prefix + "key", []
        for round in range(3):
            versions.append(storage.values.put(key, b"", ttl=SHORT, expected=0))
            versions.append(storage.values.put(key, b"", ttl=SHORT))
            self.eventually(lambda: storage.values.get(key) is None, "expiry")
            if round == 1:
                storage.purge()
        versions.append(storage.values.put(key, b""))
        assert growing(versions)

    def test_versions_never_come_back_below_a_restored_one(
        self, storage: Storage, prefix: str
    ) -> None:
        """A record brought from a machine whose clock is ahead: deleted, created, still above."""
        key, ahead = prefix + "key", now_micros() + DAY
        commit(storage.backend, Restore(KeyValueRecord(key, Entry(b"", ahead))))
        assert storage.values.put(key, b"") == ahead + 1
        storage.values.delete(key)
        assert storage.values.put(key, b"", expected=0) > ahead + 1

    def test_versions_of_several_keys_are_their_own(self, storage: Storage, prefix: str) -> None:
        """Writing one key leaves the version of another alone."""
        a, b = prefix + "a", prefix + "b"
        before = storage.values.put(a, b"")
        for _ in range(5):
            storage.values.put(b, b"")
        entry = storage.values.get(a)
        assert entry is not None and entry.version == before

    def test_versions_of_creations_are_the_clock(
        self, clocked: Clocked | None, prefix: str
    ) -> None:
        """Where the clock is known, a creation's version is exactly its microseconds."""
        if clocked is None:
            pytest.skip("the backend's clock cannot be set")
        now = now_micros() + DAY
        with Storage(clocked(lambda: now)) as storage:
            assert storage.values.put(prefix + "a", b"") == now
            assert storage.values.put(prefix + "b", b"", expected=0) == now
            now += 5
            assert storage.values.put(prefix + "c", b"") == now

    def test_versions_grow_while_the_clock_stands(
        self, clocked: Clocked | None, prefix: str
    ) -> None:
        """With a clock that never moves, creations still get new versions."""
        if clocked is None:
            pytest.skip("the backend's clock cannot be set")
        now = now_micros()
        backend, key = clocked(lambda: now), prefix + "key"
        try:
            pairs: list[Operation] = [Put(key, b"", 0), Put(key, b""), Delete(key)] * 30
            assert growing(versions_of(backend, key, pairs) + versions_of(backend, key, pairs))
        finally:
            backend.close()

    @pytest.mark.parametrize("removed_by", ["delete", "expiry", "purge"])
    def test_versions_grow_when_the_clock_is_set_back(
        self, clocked: Clocked | None, prefix: str, removed_by: str
    ) -> None:
        """A clock set back an hour brings no version back, however the value went."""
        if clocked is None:
            pytest.skip("the backend's clock cannot be set")
        now, key = now_micros(), prefix + "key"
        backend = clocked(lambda: now)
        if removed_by != "delete" and not backend.capabilities.expiry:
            pytest.skip("expiry is not declared")
        try:
            storage, versions = Storage(backend), []
            for _ in range(3):
                ttl = None if removed_by == "delete" else timedelta(minutes=1)
                versions.append(storage.values.put(key, b"", ttl=ttl))
                now += 120_000_000
                if removed_by == "purge":
                    storage.purge()
                else:
                    storage.values.delete(key)
                now -= 3_600_000_000
                assert storage.values.get(key) is None
            versions.append(storage.values.put(key, b"", expected=0))
            assert growing(versions)
        finally:
            backend.close()
