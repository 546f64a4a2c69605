"""`compare` finds each kind of difference and no other, in any order; `follow` mends them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from attrs import evolve
from statekeep import (
    Backend,
    DeferredMessage,
    Entry,
    KeyValueRecord,
    Page,
    Record,
    RecordKind,
    Restore,
    Storage,
    Transaction,
    migration,
)
from statekeep.layers.base import Layer
from statekeep.migration import matching
from statekeep.model import Outcome
from statekeep.testing.support import commit, snapshot

from tests.migration import contents

Pair = tuple[Storage, Storage]
HOUR = timedelta(hours=1)
KEY = contents.NAMES[0]


def restored(storage: Storage, **changes: object) -> None:
    """Writes a record again with something else in it."""
    entry = storage.values.get(KEY)
    commit(storage.backend, Restore(KeyValueRecord(KEY, evolve(entry, **changes))))


def message(storage: Storage, **changes: object) -> None:
    found = next(each for each in storage.deferred.scan("timers") if each.token)
    commit(storage.backend, Restore(evolve(found, **changes)))


def soon(storage: Storage) -> object:
    return storage.deferred and next(iter(storage.deferred.scan("timers"))).due + HOUR


PLANTED: dict[str, tuple[Callable[[Storage], object], tuple[str, ...]]] = {
    "missing value": (lambda s: s.values.delete(KEY), ("missing",)),
    "extra value": (lambda s: s.values.put("extra", b""), ("extra",)),
    "version": (lambda s: restored(s, version=s.values.get(KEY).version + 1), ("version",)),
    "value": (lambda s: restored(s, value=b"damaged"), ("value",)),
    "expires": (lambda s: restored(s, expires=soon(s)), ("expires",)),
    "missing set": (lambda s: s.sets.remove(KEY, *s.sets.members(KEY)), ("missing",)),
    "extra set": (lambda s: s.sets.add("extra", b"m"), ("extra",)),
    "missing member": (lambda s: s.sets.remove("big", b"7"), ("missing",)),
    "extra member": (lambda s: s.sets.add("big", b"extra"), ("extra",)),
    "missing message": (lambda s: s.deferred.cancel("timers", "later"), ("missing",)),
    "extra message": (lambda s: s.deferred.schedule("timers", "x", due=HOUR), ("extra",)),
    "due": (lambda s: message(s, due=soon(s)), ("due",)),
    "lease": (lambda s: message(s, visible=soon(s)), ("visible",)),
    "attempt": (lambda s: message(s, attempt=9), ("attempt",)),
    "token": (lambda s: message(s, token="another"), ("token",)),  # of a lease
    "payload": (lambda s: message(s, payload=b"other"), ("payload",)),
}


@pytest.fixture
def alike(memories: Pair) -> Pair:
    """Two stores with the same content."""
    source, target = memories
    contents.fill(source)
    source.values.put(KEY, b"mended", ttl=None)
    source.sets.add("big", *(b"%d" % number for number in range(50)))
    migration.copy(source.backend, target.backend)
    return source, target


@pytest.mark.parametrize("planted", PLANTED)
def test_each_kind_of_difference_is_found_and_mended(alike: Pair, planted: str) -> None:
    """It alone, with its name; from the other side too; and `follow` makes both the same."""
    source, target = alike
    plant, what = PLANTED[planted]
    plant(target)
    (found,) = migration.compare(source.backend, target.backend)
    assert found.what == what
    (back,) = migration.compare(target.backend, source.backend)
    mirrored = {("missing",): ("extra",), ("extra",): ("missing",)}
    assert back.what == mirrored.get(what, what)
    assert (back.kind, back.name, back.member) == (found.kind, found.name, found.member)

    migration.follow(source.backend, target.backend, delete=True)
    if (
        found.kind is RecordKind.KEY_VALUE
        and len(found.what) == 1
        and found.target
        and found.source
    ):
        # Somebody wrote to the target: that is not for `follow` to undo.
        assert len(list(migration.compare(source.backend, target.backend))) == 1
    else:
        assert snapshot(target, "") == snapshot(source, "")


class Shuffled(Layer):
    """A backend that scans in an order of its own, and returns some records twice."""

    def __init__(self, inner: Backend, seed: int, twice: int = 5) -> None:
        super().__init__(inner)
        self._seed = seed
        self._twice = twice

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        records = list(self._all(kind, prefix))
        random.Random(self._seed).shuffle(records)
        records += records[: self._twice]
        start = int(cursor or 0)
        end = start + max(limit // 100, 1)
        return Page(records[start:end], str(end) if end < len(records) else None)

    def _all(self, kind: RecordKind, prefix: str) -> list[Record]:
        return list(self.inner.scan(kind, prefix=prefix, limit=10_000, cursor=None).items)

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        found = list(self.inner.members(key, limit=10_000, cursor=None).items)
        random.Random(self._seed).shuffle(found)
        start = int(cursor or 0)
        end = start + max(min(limit, 100), 1)
        return Page(found[start:end], str(end) if end < len(found) else None)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_a_scan_does_not_matter(
    memories: Pair, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a Redis Cluster; what waits for its like is bounded, and then looked up."""
    monkeypatch.setattr(matching, "MOST_KEPT", 20)
    source, target = memories
    rng = random.Random(seed)
    for number in range(300):
        source.values.put(f"k{number}", b"")
        source.sets.add(f"s{number % 30}", b"%d" % number)
        source.sets.add("big", b"%d" % number)
        source.deferred.schedule("q", f"m{number}", due=HOUR)
    first, second = Shuffled(source.backend, seed), Shuffled(target.backend, seed + 100)
    migration.copy(first, second)
    assert snapshot(source, "") == snapshot(target, "")
    gone = rng.sample(range(300), 30)
    for number in gone:
        target.values.delete(f"k{number}")
        target.deferred.cancel("q", f"m{number}")
        target.sets.remove("big", b"%d" % number)
    found = {(each.kind, each.name, each.member) for each in migration.compare(first, second)}
    assert found == {
        *((RecordKind.KEY_VALUE, f"k{number}", None) for number in gone),
        *((RecordKind.DEFERRED, ("q", f"m{number}"), None) for number in gone),
        *((RecordKind.KEY_SET, "big", b"%d" % number) for number in gone),
    }
    migration.follow(first, second)
    assert snapshot(source, "") == snapshot(target, "")


@pytest.mark.parametrize("way", [1, -1])
def test_sets_that_were_not_met_in_time_are_compared_too(
    memories: Pair, way: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another order on each side, every set's members are compared, and each record once."""
    monkeypatch.setattr(matching, "MOST_KEPT", 20)
    source, target = memories
    for number in range(300):
        source.sets.add(f"s{number:03}", b"a", b"b")
        source.values.put(f"k{number:03}", b"v")
    migration.copy(source.backend, target.backend)
    for number in range(0, 300, 10):
        target.sets.remove(f"s{number:03}", b"a")
        source.values.put(f"k{number:03}", b"newer")
    sides = [Shuffled(source.backend, 1, twice=0), Shuffled(target.backend, 2, twice=0)][::way]
    comparison = migration.compare(*sides)
    found = sorted((each.kind.value, str(each.name), each.member) for each in comparison)
    assert found == [
        *(("key_set", f"s{number:03}", b"a") for number in range(0, 300, 10)),
        *(("key_value", f"k{number:03}", None) for number in range(0, 300, 10)),
    ]
    counts = comparison.tally.counts
    assert counts[RecordKind.KEY_VALUE].records == counts[RecordKind.KEY_SET].records == 300
    if way > 0:
        migration.follow(*sides)
        assert snapshot(source, "") == snapshot(target, "")


def test_large_values_that_differ_are_read_again_a_few_at_a_time(memories: Pair) -> None:
    """As many as 16 MiB hold of both sides; and `follow` writes them before it reads more."""
    source, target = memories
    for number in range(40):
        source.values.put(f"k{number}", bytes(2**20))
    migration.copy(source.backend, target.backend)
    for number in range(40):
        source.values.put(f"k{number}", bytes(2**20))
    read: list[int] = []
    waiting: list[int] = []

    class Reading(Layer):
        """Notes how many values one call reads."""

        def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
            read.append(len(keys))
            return super().get_many(keys)

    class Writing(Layer):
        """Notes how many values were read by the time that one is written."""

        def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
            waiting.append(sum(read))
            return super().commit(transactions)

    found = migration.compare(Reading(source.backend), target.backend)
    assert len(list(found)) == 40
    assert max(read) <= 8
    read.clear()
    migration.follow(Reading(source.backend), Writing(target.backend))
    assert waiting[0] <= 8
    assert snapshot(source, "") == snapshot(target, "")


def test_a_record_that_changes_while_it_is_compared_is_no_difference(alike: Pair) -> None:
    """What looked different is read again, from both sides."""
    source, target = alike

    class Late(Layer):
        """Scans show what was there before the last write."""

        def scan(self, kind: RecordKind, **more: object) -> Page[Record]:
            page = super().scan(kind, **more)
            items = [each for each in page.items if getattr(each, "key", "") != KEY]
            return Page(items, page.cursor)

    assert list(migration.compare(Late(source.backend), target.backend)) == []


def test_a_comparison_tells_how_much_of_the_source_it_has_read(memories: Pair) -> None:
    """Also where the target has nothing of it."""
    source, target = memories
    source.values.put_many({f"n/{number}": b"" for number in range(2500)})
    moments: list[migration.Progress] = []
    assert (
        len(list(migration.compare(source.backend, target.backend, watch=moments.append))) == 2500
    )
    assert moments[-1].records == 2500 and moments[-1].total.records == 0
    assert [each.records for each in moments] == sorted(each.records for each in moments)
    moments.clear()
    migration.follow(source.backend, target.backend, watch=moments.append)
    assert moments[-1].phase == "follow" and moments[-1].records == 2500


def test_follow_writes_only_what_differs_and_deletes_only_when_told(alike: Pair) -> None:
    """A newer version is written, one that the target has ahead stays, what is gone stays too."""
    source, target = alike
    source.values.put(KEY, b"newer")
    source.values.delete(contents.NAMES[1])
    target.values.put(contents.NAMES[2], b"ahead")
    source.sets.remove("big", b"1")
    tally = migration.follow(source.backend, target.backend)
    values = tally.counts[RecordKind.KEY_VALUE]
    assert (values.written, values.kept, values.deleted) == (1, 2, 0)
    assert target.values.get(KEY) == source.values.get(KEY)
    assert target.values.get(contents.NAMES[2]).value == b"ahead"
    assert target.sets.contains("big", b"1")
    tally = migration.follow(source.backend, target.backend, delete=True)
    values = tally.counts[RecordKind.KEY_VALUE]
    assert (values.written, values.kept, values.deleted) == (0, 1, 1)
    assert target.values.get(contents.NAMES[1]) is None
    assert not target.sets.contains("big", b"1")


def test_follow_does_not_delete_what_the_target_has_changed_since(alike: Pair) -> None:
    """The deletion is conditional: a write that comes between wins."""
    source, target = alike
    source.values.delete(KEY)

    class Between(Layer):
        def commit(self, transactions):
            target.values.put(KEY, b"between")
            return super().commit(transactions)

    migration.follow(source.backend, Between(target.backend), delete=True)
    assert target.values.get(KEY).value == b"between"


def test_followed_while_it_is_written_a_copy_ends_up_the_same(memories: Pair) -> None:
    """Passes while the source changes, and one after it stopped: the way to switch over."""
    source, target = memories
    contents.fill(source)
    rng = random.Random(5)
    migration.copy(source.backend, target.backend)
    for _ in range(5):
        for name in rng.sample(contents.NAMES, 5):
            source.values.put(name, rng.randbytes(10))
            source.sets.add(name, rng.randbytes(3))
        source.values.delete(rng.choice(contents.NAMES))
        for claimed in source.deferred.claim("timers", limit=2):
            source.deferred.acknowledge(claimed)
        migration.follow(source.backend, target.backend, delete=True)
    assert snapshot(source, "") == snapshot(target, "")
    assert isinstance(next(iter(target.deferred.scan("timers"))), DeferredMessage)
