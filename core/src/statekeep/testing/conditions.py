"""Conditional writes: what is expected holds, or nothing at all is written."""

from __future__ import annotations

import pytest

from statekeep.backend import Backend
from statekeep.errors import InvalidArgument, VersionConflict
from statekeep.model import (
    Acknowledge,
    Check,
    Committed,
    Conflict,
    Delete,
    Operation,
    Put,
    ValueOperation,
)
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, commit, snapshot

KINDS = ("put", "delete", "check")


def operation(kind: str, key: str, expected: int) -> ValueOperation:
    """A conditional operation of this kind."""
    if kind == "put":
        return Put(key, b"new", expected)
    return Delete(key, expected) if kind == "delete" else Check(key, expected)


class ConditionsTests(Kit):
    """Section 3.4 of the contract."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("expected", [1, 2**62, 2**63 - 1])
    def test_conditions_on_an_absent_key_fail(
        self, backend: Backend, prefix: str, kind: str, expected: int
    ) -> None:
        """Whatever version is expected of an absent key, the conflict says it is at 0."""
        key = prefix + "absent"
        assert commit(backend, operation(kind, key, expected)) == Conflict({key: 0})
        assert backend.get_many([key]) == {}

    @pytest.mark.parametrize("kind", KINDS)
    def test_conditions_of_absence_hold_on_an_absent_key(
        self, backend: Backend, prefix: str, kind: str
    ) -> None:
        """expected=0 on a key that is not there lets the operation through."""
        key = prefix + "absent"
        outcome = commit(backend, operation(kind, key, 0))
        assert isinstance(outcome, Committed) and not outcome.deleted
        found = backend.get_many([key])
        if kind == "put":
            assert found[key].version == outcome.versions[key]
        else:
            assert found == {}

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("wrong", ["absent", "before", "after", "far"])
    def test_conditions_that_do_not_hold_write_nothing(
        self, storage: Storage, prefix: str, kind: str, wrong: str
    ) -> None:
        """A wrong version conflicts, names the current one, and leaves value and version alone."""
        key = prefix + "key"
        storage.values.put(key, b"first")
        version = storage.values.put(key, b"second")
        expected = {"absent": 0, "before": version - 1, "after": version + 1, "far": 2**62}[wrong]
        before = snapshot(storage, prefix)
        outcome = commit(storage.backend, operation(kind, key, expected))
        assert outcome == Conflict({key: version})
        assert snapshot(storage, prefix) == before

    @pytest.mark.parametrize("kind", KINDS)
    def test_conditions_that_hold_write(self, backend: Backend, prefix: str, kind: str) -> None:
        """The current version lets a put, delete or check through, and the check writes nothing."""
        key = prefix + "key"
        made = commit(backend, Put(key, b"old"))
        assert isinstance(made, Committed)
        version = made.versions[key]
        outcome = commit(backend, operation(kind, key, version))
        assert isinstance(outcome, Committed)
        found = backend.get_many([key])
        if kind == "put":
            assert (found[key].value, found[key].version) == (b"new", version + 1)
        elif kind == "delete":
            assert found == {} and outcome.deleted == {key}
        else:
            assert (found[key].value, found[key].version) == (b"old", version)
            assert key not in outcome.versions

    def test_conditions_none_writes_whatever_is_there(self, storage: Storage, prefix: str) -> None:
        """Without a condition, a put and a delete never conflict."""
        key = prefix + "key"
        first = storage.values.put(key, b"1")
        assert storage.values.put(key, b"2") > first
        assert storage.values.delete(key) is True
        assert storage.values.delete(key) is False

    def test_conditions_raise_what_they_found(self, storage: Storage, prefix: str) -> None:
        """VersionConflict carries the current version, and writing with that one succeeds."""
        key = prefix + "key"
        version = storage.values.put(key, b"1")
        with pytest.raises(VersionConflict) as caught:
            storage.values.put(key, b"2", expected=0)
        assert caught.value.current == {key: version}
        with pytest.raises(VersionConflict) as caught:
            storage.values.delete(key, expected=version + 1)
        assert caught.value.current == {key: version}
        assert storage.values.put(key, b"2", expected=caught.value.current[key]) == version + 1

    def test_conditions_conflicts_name_every_key(self, storage: Storage, prefix: str) -> None:
        """Of five conditions three fail: exactly those three are named, with their versions."""
        keys = [f"{prefix}{number}" for number in range(4)]
        at = storage.values.put_many(dict.fromkeys(keys, b"old"))
        absent = prefix + "absent"
        before = snapshot(storage, prefix)
        operations: list[Operation] = [
            Put(keys[0], b"new", at[keys[0]]),
            Put(keys[1], b"new", 0),
            Delete(keys[2], at[keys[2]] + 7),
            Check(keys[3], at[keys[3]]),
            Check(absent, 5),
            Put(prefix + "unconditional", b"new"),
        ]
        outcome = commit(storage.backend, *operations)
        assert isinstance(outcome, Conflict)
        assert dict(outcome.current) == {keys[1]: at[keys[1]], keys[2]: at[keys[2]], absent: 0}
        assert outcome.lost == ()
        assert snapshot(storage, prefix) == before

    def test_conditions_conflicts_name_lost_leases_too(self, storage: Storage, prefix: str) -> None:
        """A wrong version and a stale token in one transaction are both reported."""
        queue = prefix + "queue"
        version = storage.values.put(prefix + "key", b"")
        storage.deferred.schedule(queue, "id", due=PAST)
        (held,) = storage.deferred.claim(queue, lease=HOUR)
        storage.deferred.cancel(queue, "id")
        outcome = commit(
            storage.backend, Acknowledge(*held.name, held.token), Check(prefix + "key", 0)
        )
        assert outcome == Conflict({prefix + "key": version}, (held.name,))

    def test_conditions_tell_a_new_key_from_the_old_one(
        self, storage: Storage, prefix: str
    ) -> None:
        """Deleted and created with the same value, a key refuses the version of before."""
        key = prefix + "key"
        old = storage.values.put(key, b"same")
        storage.values.delete(key)
        new = storage.values.put(key, b"same")
        with pytest.raises(VersionConflict) as caught:
            storage.values.put(key, b"late", expected=old)
        assert caught.value.current == {key: new}

    def test_conditions_guard_other_keys(self, storage: Storage, prefix: str) -> None:
        """check() makes a write depend on a key that it does not write."""
        guard = storage.values.put(prefix + "guard", b"")
        with storage.transaction() as tx:
            tx.check(prefix + "guard", guard)
            tx.put(prefix + "key", b"1")
        storage.values.put(prefix + "guard", b"")
        with pytest.raises(VersionConflict), storage.transaction() as tx:
            tx.check(prefix + "guard", guard)
            tx.put(prefix + "key", b"2")
        entry = storage.values.get(prefix + "key")
        assert entry is not None and entry.value == b"1"

    @pytest.mark.parametrize("expected", [-1, 2**63, True, "1", 1.0])
    def test_conditions_that_are_no_versions_are_refused(
        self, storage: Storage, prefix: str, expected: int
    ) -> None:
        """A negative, too large or non-integer version is InvalidArgument."""
        with pytest.raises(InvalidArgument):
            storage.values.put(prefix + "key", b"", expected=expected)
        with pytest.raises(InvalidArgument):
            storage.values.delete(prefix + "key", expected=expected)
