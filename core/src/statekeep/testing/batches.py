"""Several transactions in one commit: each atomic by itself, applied and answered in order."""

from __future__ import annotations

from statekeep.backend import Backend
from statekeep.model import (
    Acknowledge,
    Add,
    Check,
    Committed,
    Conflict,
    Delete,
    Put,
    Remove,
    Schedule,
    Transaction,
)
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, snapshot


class BatchesTests(Kit):
    """Section 5 of the design: what group commit relies on."""

    def test_batches_answer_in_order(self, backend: Backend, prefix: str) -> None:
        """One outcome per transaction, in the order of the transactions."""
        keys = [f"{prefix}{number}" for number in range(50)]
        outcomes = backend.commit([Transaction((Put(key, key.encode(), 0),)) for key in keys])
        found = backend.get_many(keys)
        assert [dict(o.versions) for o in outcomes if isinstance(o, Committed)] == [
            {key: found[key].version} for key in keys
        ]

    def test_batches_of_updates(self, storage: Storage, prefix: str) -> None:
        """Many conditional puts together, as of many tasks: each comes to what it alone would.

        Among them stale versions, absent keys, values that expire, one key twice, and a
        transaction of another kind.
        """
        keys = [f"{prefix}{number}" for number in range(40)]
        versions = storage.values.put_many(dict.fromkeys(keys, b"old"))
        storage.values.delete(keys[7])
        if storage.capabilities.expiry:
            versions[keys[9]] = storage.values.put(keys[9], b"old", ttl=HOUR)
        puts = [Put(key, key.encode(), versions[key] + (n % 10 == 3)) for n, key in enumerate(keys)]
        puts.append(Put(keys[5], b"second", versions[keys[5]] + 1))
        batch = [Transaction((put,)) for put in puts]
        batch.insert(20, Transaction((Add(prefix + "set", (b"m",)), Put(prefix + "new", b"", 0))))
        outcomes = storage.backend.commit(batch)
        assert isinstance(outcomes.pop(20), Committed)
        found = storage.values.get_many(keys)
        for n, (put, outcome) in enumerate(zip(puts, outcomes, strict=True)):
            before = 0 if n == 7 else versions[put.key]
            if n == 40 or put.expected == before:
                assert isinstance(outcome, Committed)
                assert dict(outcome.versions) == {put.key: (put.expected or 0) + 1}
                assert n == 5 or found[put.key].value == put.value
                assert found[put.key].expires is None
            else:
                assert outcome == Conflict({put.key: before})
                assert (put.key in found) == bool(before)
        assert storage.sets.members(prefix + "set") == {b"m"}

    def test_batches_keep_neighbours_of_a_conflict(self, storage: Storage, prefix: str) -> None:
        """A conflict in the middle spares the transactions before and behind it."""
        taken = storage.values.put(prefix + "taken", b"old")
        outcomes = storage.backend.commit(
            [
                Transaction((Put(prefix + "a", b"1"), Add(prefix + "set", (b"a",)))),
                Transaction(
                    (
                        Add(prefix + "set", (b"b",)),
                        Schedule(prefix + "queue", "b", HOUR),
                        Put(prefix + "taken", b"new", 0),
                    )
                ),
                Transaction((Put(prefix + "c", b"3"), Schedule(prefix + "queue", "c", HOUR))),
            ]
        )
        assert [type(outcome) for outcome in outcomes] == [Committed, Conflict, Committed]
        assert outcomes[1] == Conflict({prefix + "taken": taken})
        values, sets, messages = snapshot(storage, prefix)
        assert {key: entry.value for key, entry in values.items()} == {
            prefix + "a": b"1",
            prefix + "c": b"3",
            prefix + "taken": b"old",
        }
        assert sets == {prefix + "set": {b"a"}}
        assert [message.id for message in messages] == ["c"]

    def test_batches_show_each_transaction_to_the_next(self, storage: Storage, prefix: str) -> None:
        """What one transaction of a call wrote is what the next one's condition meets."""
        key = prefix + "key"
        outcomes = storage.backend.commit(
            [
                Transaction((Put(key, b"1", 0),)),
                Transaction((Put(key, b"2", 0),)),
                Transaction((Delete(key),)),
                Transaction((Check(key, 0), Add(prefix + "set", (b"x",)))),
                Transaction((Put(key, b"3", 0), Remove(prefix + "set", (b"x",)))),
            ]
        )
        first, second, third, fourth, fifth = outcomes
        assert isinstance(first, Committed) and isinstance(fifth, Committed)
        assert second == Conflict({key: first.versions[key]})
        assert isinstance(third, Committed) and third.deleted == {key}
        assert isinstance(fourth, Committed)
        values, sets, _ = snapshot(storage, prefix)
        assert {found: entry.value for found, entry in values.items()} == {key: b"3"}
        assert values[key].version == fifth.versions[key] > first.versions[key]
        assert sets == {}

    def test_batches_count_updates_of_one_key(self, backend: Backend, prefix: str) -> None:
        """A hundred puts of one key in one call give a hundred versions, the last value stays."""
        key = prefix + "key"
        outcomes = backend.commit([Transaction((Put(key, b"%d" % n),)) for n in range(100)])
        versions = [o.versions[key] for o in outcomes if isinstance(o, Committed)]
        assert versions == list(range(versions[0], versions[0] + 100))
        entry = backend.get_many([key])[key]
        assert (entry.value, entry.version) == (b"99", versions[-1])

    def test_batches_acknowledge_once(self, storage: Storage, prefix: str) -> None:
        """Of two transactions that acknowledge one claim, the first wins."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST)
        (held,) = storage.deferred.claim(queue, lease=HOUR)
        outcomes = storage.backend.commit(
            [
                Transaction((Acknowledge(*held.name, held.token), Put(f"{prefix}{n}", b"")))
                for n in range(2)
            ]
        )
        assert isinstance(outcomes[0], Committed)
        assert outcomes[1] == Conflict({}, (held.name,))
        assert list(storage.values.get_many([prefix + "0", prefix + "1"])) == [prefix + "0"]

    def test_batches_may_hold_nothing_but_conflicts(self, storage: Storage, prefix: str) -> None:
        """Every transaction of a call may conflict; nothing is written."""
        outcomes = storage.backend.commit(
            [Transaction((Check(f"{prefix}{n}", 9), Put(f"{prefix}x{n}", b""))) for n in range(5)]
        )
        assert outcomes == [Conflict({f"{prefix}{n}": 0}) for n in range(5)]
        assert snapshot(storage, prefix) == ({}, {}, [])
