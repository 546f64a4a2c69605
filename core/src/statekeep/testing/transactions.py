"""Transactions: all three primitives together, in the order given."""

from __future__ import annotations

import pytest

from statekeep.backend import AtomicScope, Backend
from statekeep.clock import EPOCH
from statekeep.errors import InvalidArgument, LeaseLost, Unsupported, VersionConflict
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    DeferredMessage,
    Delete,
    Entry,
    KeyValueRecord,
    Operation,
    Put,
    Release,
    Remove,
    Restore,
    Schedule,
    Transaction,
)
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Counting, Kit, commit, fresh_prefix, snapshot


class TransactionsTests(Kit):
    """Section 3.5 of the contract."""

    def test_transactions_apply_all_of_a_mix(self, storage: Storage, prefix: str) -> None:
        """State, tags, timer and acknowledgement land together; versions are known afterwards."""
        queue = prefix + "queue"
        old = storage.values.put(prefix + "old", b"")
        storage.sets.add(prefix + "open", b"order")
        storage.deferred.schedule(queue, "start", due=PAST)
        (message,) = storage.deferred.claim(queue, lease=HOUR)
        with storage.transaction() as tx:
            tx.put(prefix + "state", b"paid", expected=0)
            tx.delete(prefix + "old", expected=old)
            tx.remove(prefix + "open", b"order")
            tx.add(prefix + "paid", b"order")
            tx.schedule(queue, "timeout", due=HOUR, payload=b"late")
            tx.acknowledge(message)
        values, sets, messages = snapshot(storage, prefix)
        assert {key: entry.value for key, entry in values.items()} == {prefix + "state": b"paid"}
        assert tx.versions == {
            prefix + "state": values[prefix + "state"].version,
            prefix + "old": 0,
        }
        assert sets == {prefix + "paid": {b"order"}}
        assert [(found.id, found.payload) for found in messages] == [("timeout", b"late")]

    def test_transactions_with_a_stale_token_change_nothing(
        self, storage: Storage, prefix: str
    ) -> None:
        """A worker that lost its lease cannot write its result either."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST)
        (message,) = storage.deferred.claim(queue, lease=HOUR)
        storage.deferred.schedule(queue, "id", due=HOUR)
        with pytest.raises(LeaseLost) as caught, storage.transaction() as tx:
            tx.put(prefix + "state", b"done")
            tx.acknowledge(message)
        assert caught.value.lost == ((queue, "id"),)
        assert storage.values.get(prefix + "state") is None

    def test_transactions_remove_then_add_leaves_the_member(
        self, backend: Backend, prefix: str
    ) -> None:
        """Operations apply in the order given, whether the member was there or not."""
        key = prefix + "set"
        for _ in range(2):
            commit(backend, Remove(key, (b"m", b"n")), Add(key, (b"m",)))
            assert backend.members_many([key])[key] == {b"m"}

    def test_transactions_add_then_remove_leaves_no_member(
        self, backend: Backend, prefix: str
    ) -> None:
        """The other order has the other result, and no empty set is left to be listed."""
        key = prefix + "set"
        commit(backend, Add(key, (b"m", b"n")), Remove(key, (b"m",)))
        assert backend.members_many([key])[key] == {b"n"}
        commit(backend, Add(key, (b"m",)), Remove(key, (b"m", b"n")), Remove(key, (b"x",)))
        assert list(Storage(backend).sets.scan(prefix)) == []

    def test_transactions_interleave_sets_in_order(self, backend: Backend, prefix: str) -> None:
        """Several changes of several sets in one transaction do not overtake each other."""
        a, b = prefix + "a", prefix + "b"
        commit(
            backend,
            Add(a, (b"1",)), Add(b, (b"1",)), Remove(a, (b"1",)), Add(a, (b"2",)),
            Remove(b, (b"1",)), Add(b, (b"1", b"2")), Remove(a, (b"2",)), Add(a, (b"1",)),
        )  # fmt: skip
        assert backend.members_many([a, b]) == {a: {b"1"}, b: {b"1", b"2"}}

    def test_transactions_cancel_then_schedule_leaves_the_message(
        self, backend: Backend, prefix: str
    ) -> None:
        """A timer may be cancelled and set anew in one transaction."""
        queue = prefix + "queue"
        commit(backend, Schedule(queue, "id", HOUR, b"old"))
        outcome = commit(backend, Cancel(queue, "id"), Schedule(queue, "id", PAST, b"new"))
        assert isinstance(outcome, Committed) and outcome.cancelled == {(queue, "id")}
        claimed = backend.claim(queue, limit=10, lease=HOUR)
        assert [message.payload for message in claimed] == [b"new"]

    def test_transactions_schedule_then_cancel_leaves_no_message(
        self, backend: Backend, prefix: str
    ) -> None:
        """The other order has the other result."""
        queue = prefix + "queue"
        outcome = commit(backend, Schedule(queue, "id", PAST), Cancel(queue, "id"))
        assert isinstance(outcome, Committed) and outcome.cancelled == {(queue, "id")}
        assert backend.claim(queue, limit=10, lease=HOUR) == []
        assert list(Storage(backend).deferred.scan(queue)) == []

    def test_transactions_schedule_twice_keeps_the_last(
        self, backend: Backend, prefix: str
    ) -> None:
        """One message, with the payload and the due time of the second schedule."""
        queue = prefix + "queue"
        commit(backend, Schedule(queue, "id", HOUR, b"1"), Schedule(queue, "id", PAST, b"2"))
        claimed = backend.claim(queue, limit=10, lease=HOUR)
        assert [(message.payload, message.attempt) for message in claimed] == [(b"2", 1)]

    def test_transactions_acknowledge_then_schedule_leaves_a_new_message(
        self, storage: Storage, prefix: str
    ) -> None:
        """A periodic timer: done with this one, and the next one under the same id."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "tick", due=PAST, payload=b"1")
        (first,) = storage.deferred.claim(queue, lease=HOUR)
        with storage.transaction() as tx:
            tx.acknowledge(first)
            tx.schedule(queue, "tick", due=PAST, payload=b"2")
        (second,) = storage.deferred.claim(queue, limit=10, lease=HOUR)
        assert (second.payload, second.attempt) == (b"2", 1)
        with pytest.raises(LeaseLost):
            storage.deferred.acknowledge(first)
        storage.deferred.acknowledge(second)

    def test_transactions_refuse_two_value_operations_on_a_key(self, prefix: str) -> None:
        """At most one value operation per key, so that a condition has one meaning."""
        key = prefix + "key"
        record = Restore(KeyValueRecord(key, Entry(b"", 1)))
        for pair in (
            (Put(key, b""), Put(key, b"")),
            (Put(key, b""), Delete(key)),
            (Check(key, 0), Put(key, b"")),
            (record, Check(key, 1)),
        ):
            with pytest.raises(InvalidArgument):
                Transaction(pair)

    def test_transactions_refuse_a_lease_operation_behind_another(self, prefix: str) -> None:
        """A lease operation comes first on its message, and once."""
        lease = Acknowledge(prefix, "id", "token")
        restored = Restore(DeferredMessage(prefix, "id", EPOCH, b""))
        for before in (Schedule(prefix, "id", PAST), Cancel(prefix, "id"), restored, lease):
            with pytest.raises(InvalidArgument):
                Transaction((before, lease))
            with pytest.raises(InvalidArgument):
                Transaction((before, Release(prefix, "id", "token")))

    def test_transactions_send_nothing_before_their_end(
        self, backend: Backend, prefix: str
    ) -> None:
        """An exception in the block commits nothing; an ended or empty one sends nothing."""
        counting = Counting(backend)
        storage = Storage(counting)
        with pytest.raises(ZeroDivisionError), storage.transaction() as tx:
            tx.put(prefix + "key", b"")
            raise ZeroDivisionError
        with pytest.raises(InvalidArgument):
            tx.put(prefix + "key", b"")
        with pytest.raises(InvalidArgument):
            _ = tx.versions
        with storage.transaction() as empty:
            pass
        assert empty.versions == {} and counting.commits == 0
        assert storage.values.get(prefix + "key") is None

    def test_transactions_of_a_thousand_operations(self, storage: Storage, prefix: str) -> None:
        """Large transactions are as atomic as small ones: applied whole, and refused whole."""
        operations: list[Operation] = []
        for number in range(350):
            operations.append(Put(f"{prefix}{number}", b"%d" % number, 0))
            operations.append(Add(f"{prefix}tag/{number % 7}", (b"%d" % number,)))
            operations.append(Schedule(prefix + "queue", str(number), HOUR))
        assert isinstance(commit(storage.backend, *operations), Committed)
        before = snapshot(storage, prefix)
        assert [len(part) for part in before] == [350, 7, 350]
        with pytest.raises(VersionConflict) as caught, storage.transaction() as tx:
            for number in range(700):
                tx.put(f"{prefix}{number}", b"again", expected=0)
        assert len(caught.value.current) == 350
        assert snapshot(storage, prefix) == before

    def test_transactions_across_hash_tags(self, storage: Storage) -> None:
        """Keys that have nothing in common commit together, or are Unsupported as declared."""
        keys = [fresh_prefix() + "key" for _ in range(8)]
        if storage.capabilities.atomic_scope is AtomicScope.EVERYTHING:
            storage.values.put_many(dict.fromkeys(keys, b""))
            assert len(storage.values.get_many(keys)) == 8
        else:
            with pytest.raises(Unsupported, match="hash"):
                storage.values.put_many(dict.fromkeys(keys, b""))
            assert all(storage.values.get(key) is None for key in keys)
