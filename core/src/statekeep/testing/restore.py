"""Restore: import and migration write a record as it was, and its holders notice nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from statekeep.errors import LeaseLost, VersionConflict
from statekeep.model import (
    Committed,
    DeferredMessage,
    Entry,
    KeyValueRecord,
    Put,
    RecordKind,
    Restore,
)
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, Opener, commit, scan_all, snapshot


class RestoreTests(Kit):
    """The operation `Restore` of section 5 of the design."""

    def test_restore_keeps_the_version(self, storage: Storage, prefix: str) -> None:
        """The value comes with the version given, be it old, and a write prepared before holds."""
        key = prefix + "key"
        outcome = commit(storage.backend, Restore(KeyValueRecord(key, Entry(b"old", 41))))
        assert isinstance(outcome, Committed) and outcome.versions[key] == 41
        assert storage.values.get(key) == Entry(b"old", 41)
        with pytest.raises(VersionConflict) as caught:
            storage.values.put(key, b"new", expected=40)
        assert caught.value.current == {key: 41}
        assert storage.values.put(key, b"new", expected=41) == 42

    def test_restore_replaces_what_is_there(self, storage: Storage, prefix: str) -> None:
        """Value, version and expiry of before are gone."""
        key = prefix + "key"
        ttl = HOUR if storage.capabilities.expiry else None
        version = storage.values.put(key, b"there", ttl=ttl)
        ahead = Entry(b"restored", version + 1000)
        commit(storage.backend, Restore(KeyValueRecord(key, ahead)))
        assert storage.values.get(key) == ahead
        assert storage.values.put(key, b"next") == version + 1001

    def test_restore_keeps_the_expiry(self, storage: Storage, prefix: str) -> None:
        """What had a time to live has the same end, to the millisecond at least."""
        if not storage.capabilities.expiry:
            pytest.skip("expiry is not declared")
        storage.values.put(prefix + "from", b"value", ttl=HOUR)
        entry = storage.values.get(prefix + "from")
        assert entry is not None and entry.expires is not None
        storage.values.delete(prefix + "from")
        commit(storage.backend, Restore(KeyValueRecord(prefix + "to", entry)))
        back = storage.values.get(prefix + "to")
        assert back is not None and back.expires is not None
        assert (back.value, back.version) == (b"value", entry.version)
        assert abs(back.expires - entry.expires) < timedelta(milliseconds=1)

    def test_restore_of_what_has_expired_is_absent(self, storage: Storage, prefix: str) -> None:
        """A record whose time was over before it arrived is not brought to life."""
        if not storage.capabilities.expiry:
            pytest.skip("expiry is not declared")
        storage.values.put(prefix + "from", b"", ttl=HOUR)
        entry = storage.values.get(prefix + "from")
        assert entry is not None and entry.expires is not None
        over = evolve(entry, expires=entry.expires - timedelta(days=30))
        key = prefix + "to"
        commit(storage.backend, Restore(KeyValueRecord(key, over)))
        assert storage.values.get(key) is None
        assert [found for found, _ in storage.values.scan(key)] == []
        assert storage.values.put(key, b"", expected=0) > entry.version

    def test_restore_keeps_a_waiting_message(self, storage: Storage, prefix: str) -> None:
        """Due time, payload and attempts come back; nobody holds it."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST, payload=b"payload")
        (claimed,) = storage.deferred.claim(queue)
        storage.deferred.release(claimed, delay=HOUR)
        (record,) = storage.deferred.scan(queue)
        storage.deferred.cancel(queue, "id")
        commit(storage.backend, Restore(record))
        assert list(storage.deferred.scan(queue)) == [record]
        assert storage.deferred.claim(queue) == []

    def test_restore_keeps_a_held_message(self, storage: Storage, prefix: str) -> None:
        """Its holder acknowledges it with the token of before."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST)
        (held,) = storage.deferred.claim(queue, lease=HOUR)
        storage.deferred.cancel(queue, "id")
        with pytest.raises(LeaseLost):
            storage.deferred.acknowledge(held)
        commit(storage.backend, Restore(held))
        assert list(storage.deferred.scan(queue)) == [held]
        assert storage.deferred.claim(queue) == []
        storage.deferred.acknowledge(held)
        assert list(storage.deferred.scan(queue)) == []

    def test_restore_in_another_store_keeps_old_tokens_dead(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """A message brought over with its token, and claimed there anew, has another token."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST)
        (held,) = storage.deferred.claim(queue, lease=timedelta(microseconds=1))
        storage.deferred.cancel(queue, "id")
        with Storage(opener()) as other:
            commit(other.backend, Restore(held))
            for attempt in range(2, 7):
                (current,) = self.eventually(
                    lambda: other.deferred.claim(queue, lease=timedelta(microseconds=1)), "a claim"
                )
                assert current.attempt == attempt and current.token != held.token
            with pytest.raises(LeaseLost):
                other.deferred.acknowledge(held)
            other.deferred.cancel(queue, "id")

    def test_restore_replaces_a_message(self, storage: Storage, prefix: str) -> None:
        """What was claimed here is taken from its holder."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST, payload=b"here")
        (held,) = storage.deferred.claim(queue, lease=HOUR)
        commit(storage.backend, Restore(DeferredMessage(queue, "id", held.due, b"restored")))
        with pytest.raises(LeaseLost):
            storage.deferred.acknowledge(held)
        (current,) = storage.deferred.claim(queue, limit=10, lease=HOUR)
        assert (current.payload, current.attempt) == (b"restored", 1)

    def test_restore_copies_a_whole_store(self, storage: Storage, prefix: str) -> None:
        """Scanned, removed and restored in one transaction, all records are as they were."""
        for number in range(5):
            storage.values.put(f"{prefix}{number}", b"%d" % number)
            storage.deferred.schedule(prefix + "queue", str(number), due=PAST)
        storage.deferred.claim(prefix + "queue", limit=2, lease=HOUR)
        before = snapshot(storage, prefix)
        records = [
            record
            for kind in (RecordKind.KEY_VALUE, RecordKind.DEFERRED)
            for record in scan_all(storage.backend, kind, prefix)
        ]
        for key in before[0]:
            storage.values.delete(key)
        for message in before[2]:
            storage.deferred.cancel(*message.name)
        assert snapshot(storage, prefix) == ({}, {}, [])
        commit(
            storage.backend,
            *(
                Restore(record)
                for record in records
                if isinstance(record, KeyValueRecord | DeferredMessage)
            ),
            Put(prefix + "x", b""),
        )
        storage.values.delete(prefix + "x")
        assert snapshot(storage, prefix) == before
