"""The caching layer: versioned answers, and no older value put back after a write."""

from collections.abc import Sequence
from datetime import timedelta
from threading import Event, Thread

import pytest
from statekeep import Entry, Storage, VersionConflict
from statekeep.errors import OutcomeUnknown
from statekeep.layers.base import Layer
from statekeep.layers.caching import CachingLayer
from statekeep.model import Outcome, Transaction
from statekeep_memory import MemoryCacheConfig
from statekeep_memory.backend import MemoryBackend
from statekeep_memory.cache import MemoryCache


class Gate(Layer):
    """Holds a read between its answer and its caller, and counts."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.reads = 0
        self.hold: Event | None = None
        self.arrived = Event()

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        found = super().get_many(keys)
        self.reads += 1
        if self.hold is not None:
            self.arrived.set()
            assert self.hold.wait(10)
        return found


def cache(size: int = 100) -> MemoryCache:
    return MemoryCache(MemoryCacheConfig(maximum_size=size))


@pytest.fixture
def gate() -> Gate:
    return Gate(MemoryBackend())


@pytest.fixture
def storage(gate: Gate) -> Storage:
    return Storage(CachingLayer(gate, cache(), cache()))


def test_a_second_read_is_answered_without_the_backend(storage: Storage, gate: Gate) -> None:
    """The entry comes with its version."""
    version = storage.values.put("k", b"one")
    assert storage.values.get("k") == storage.values.get("k") == Entry(b"one", version)
    assert gate.reads == 1


def test_an_absent_key_is_not_cached(storage: Storage, gate: Gate) -> None:
    """Another process may create it at any time."""
    assert storage.values.get("k") is None
    gate.inner.commit([])
    Storage(gate.inner).values.put("k", b"now")
    entry = storage.values.get("k")
    assert entry is not None
    assert entry.value == b"now"


def test_a_write_is_read_by_its_writer(storage: Storage) -> None:
    """Put, delete, set changes: the next read in this process sees them."""
    storage.values.put("k", b"one")
    storage.values.get("k")
    storage.values.put("k", b"two")
    entry = storage.values.get("k")
    assert entry is not None
    assert entry.value == b"two"
    storage.values.delete("k")
    assert storage.values.get("k") is None
    storage.sets.add("s", b"1")
    assert storage.sets.members("s") == {b"1"}
    storage.sets.add("s", b"2")
    assert storage.sets.members("s") == {b"1", b"2"}


def test_a_read_that_began_before_a_write_never_fills_after_it(
    storage: Storage, gate: Gate
) -> None:
    """The reader may still return the old value, but nobody after it gets it from the cache."""
    storage.values.put("k", b"old")
    gate.hold = Event()
    reader = Thread(target=storage.values.get, args=("k",))
    reader.start()
    assert gate.arrived.wait(10)
    storage.values.put("k", b"new")
    hold, gate.hold = gate.hold, None
    hold.set()
    reader.join(10)
    entry = storage.values.get("k")
    assert entry is not None
    assert entry.value == b"new"


def test_a_write_with_an_unknown_outcome_drops_the_entry(storage: Storage, gate: Gate) -> None:
    """It may have been applied, so the cached entry may be stale."""
    storage.values.put("k", b"one")
    storage.values.get("k")

    class Lossy(Layer):
        def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
            super().commit(transactions)
            raise OutcomeUnknown("the answer was lost")

    layer = storage.backend
    assert isinstance(layer, CachingLayer)
    layer.inner = Lossy(gate)
    with pytest.raises(OutcomeUnknown):
        storage.values.put("k", b"two")
    entry = storage.values.get("k")
    assert entry is not None
    assert entry.value == b"two"


def test_a_stale_entry_conflicts_and_the_conflict_drops_it(storage: Storage, gate: Gate) -> None:
    """So `update` succeeds at its second try, and nothing is lost."""
    storage.values.put("k", b"1")
    storage.values.get("k")
    elsewhere = Storage(gate.inner)
    elsewhere.values.put("k", b"10")
    stale = storage.values.get("k")
    assert stale is not None
    with pytest.raises(VersionConflict):
        storage.values.put("k", b"2", expected=stale.version)
    entry = storage.values.update("k", lambda value: b"%d" % (int(value or b"0") + 1))
    assert entry is not None
    assert entry.value == b"11"


def test_expiry_in_the_store_is_honoured(storage: Storage) -> None:
    """A cached entry is not handed out past its own time to live."""
    storage.values.put("k", b"1", ttl=timedelta(milliseconds=30))
    storage.values.get("k")
    Event().wait(0.05)
    assert storage.values.get("k") is None


def test_caching_takes_back_the_promise_of_snapshots(storage: Storage) -> None:
    """What is cached is of several instants."""
    assert not storage.capabilities.snapshot_reads


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_entries_expire_after_access_and_after_write() -> None:
    """An access prolongs the one and not the other."""
    clock = Clock()
    kept = MemoryCache(
        MemoryCacheConfig(maximum_size=9, expire_after_access=10, expire_after_write=25), clock
    )
    kept.put("k", 1, 1)
    for now, found in ((9, 1), (18, 1), (24, 1), (25, None)):
        clock.now = now
        assert kept.get("k") == found
    kept.put("k", 2, 1)
    clock.now += 10
    assert kept.get("k") is None


def test_the_least_recently_used_entry_goes_first() -> None:
    """Bounded in entries."""
    kept = cache(2)
    for key in "ab":
        kept.put(key, key, 1)
    kept.get("a")
    kept.put("c", "c", 1)
    assert [kept.get(key) for key in "abc"] == ["a", None, "c"]
    stats = kept.stats()
    assert (stats.hits, stats.misses, stats.evictions, stats.size) == (3, 1, 1, 2)


def test_the_cache_is_bounded_in_bytes() -> None:
    """What is larger than the whole cache is not kept, and drops nothing else."""
    kept = MemoryCache(MemoryCacheConfig(maximum_size=100, maximum_bytes=10))
    kept.put("a", 1, 6)
    kept.put("huge", 1, 11)
    kept.put("b", 1, 4)
    assert kept.get("a") == kept.get("b") == 1
    kept.put("c", 1, 5)
    assert kept.get("a") is None
    assert kept.stats().size == 2


def test_without_a_maximum_size_nothing_is_cached() -> None:
    """The storage guide's default: no caching."""
    kept = MemoryCache(MemoryCacheConfig(expire_after_access=10))
    kept.put("a", 1, 1)
    assert kept.get("a") is None
