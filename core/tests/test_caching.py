"""The caching layer: versioned answers, and no older value put back after a write."""

import random
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import permutations
from pathlib import Path
from threading import Event, Semaphore, Thread, current_thread

import pytest
import statekeep
from statekeep import Entry, Storage, VersionConflict
from statekeep.cache import CacheStats
from statekeep.errors import ConfigError, OutcomeUnknown
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


def test_what_is_handed_out_cannot_be_changed(storage: Storage) -> None:
    """Not the entry, not the set, and not what they came in."""
    storage.values.put("k", b"one")
    storage.sets.add("s", b"1")
    for _ in range(2):
        entry = storage.values.get("k")
        assert entry is not None
        assert type(entry.value) is bytes
        with pytest.raises(AttributeError):
            entry.value = b"two"  # type: ignore[misc]  # that is the test
        assert type(storage.sets.members("s")) is frozenset
        storage.values.get_many(["k"]).clear()
        storage.sets.members_many(["s"]).clear()
    assert storage.values.get_many(["k"])["k"].value == b"one"
    assert storage.sets.members("s") == {b"1"}


def test_a_bytearray_that_is_changed_later_changes_nothing(storage: Storage) -> None:
    """A value is what it was when it was put."""
    storage.values.put("k", bytes(data := bytearray(b"one")))
    storage.values.get("k")
    data[:] = b"two"
    entry = storage.values.get("k")
    assert entry is not None
    assert entry.value == b"one"


def test_the_counters_are_in_stats_and_usage(storage: Storage) -> None:
    """Hits, misses, evictions and sizes, for each kind."""
    storage.values.put("k", b"12345")
    storage.values.get("k")
    storage.values.get("k")
    caches = storage.stats().caches
    assert caches["key_value"] == CacheStats(hits=1, misses=1, evictions=0, size=1, bytes=5)
    assert caches["key_set"] == CacheStats()
    assert storage.usage().caches == caches


class Stepwise(Layer):
    """Every read and every commit stops before and after the store, until it is let go."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.arrived = Semaphore(0)
        self.permits: dict[str, Semaphore] = {}

    def _step(self) -> None:
        permit = self.permits.get(current_thread().name)
        if permit is not None:
            self.arrived.release()
            assert permit.acquire(timeout=10)

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        self._step()
        found = super().get_many(keys)
        self._step()
        return found

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        self._step()
        outcomes = super().commit(transactions)
        self._step()
        return outcomes

    def run(self, order: Sequence[str], actions: Mapping[str, Callable[[], object]]) -> None:
        """Each name in the order takes its thread one step further: start, store, end."""
        self.permits = {name: Semaphore(0) for name in actions}
        ended: set[str] = set()
        threads = {
            name: Thread(target=self._to_the_end, args=(action, ended), name=name)
            for name, action in actions.items()
        }
        for name in order:
            if threads[name].ident is None:
                threads[name].start()
            elif name in ended:  # it was answered by the cache
                continue
            else:
                self.permits[name].release()
            assert self.arrived.acquire(timeout=10)
        for thread in threads.values():
            thread.join(10)
        self.permits = {}

    def _to_the_end(self, action: Callable[[], object], ended: set[str]) -> None:
        try:
            action()
        finally:
            ended.add(current_thread().name)
            self.arrived.release()


@pytest.mark.parametrize("write", ["put", "delete", "conflict"])
def test_no_interleaving_puts_an_older_value_back(write: str) -> None:
    """Two reads and a write, each in three steps, in all 1680 orders."""
    for order in sorted(set(permutations(["r1", "r2", "w"] * 3, 9))):
        backend = MemoryBackend()
        steps = Stepwise(backend)
        storage, store = Storage(CachingLayer(steps, cache(), None)), Storage(backend)
        storage.values.put("k", b"old")
        actions: dict[str, Callable[[], object]] = {
            "put": lambda values=storage.values: values.put("k", b"new"),
            "delete": lambda values=storage.values: values.delete("k"),
            "conflict": partial(_conflicting, storage, store),
        }
        read = partial(storage.values.get, "k")
        steps.run(order, {"r1": read, "r2": read, "w": actions[write]})
        assert storage.values.get("k") == store.values.get("k"), order


def _conflicting(storage: Storage, store: Storage) -> None:
    store.values.put("k", b"by another process")
    with pytest.raises(VersionConflict):
        storage.values.put("k", b"mine", expected=1)


INCREMENT = """
import sys, statekeep
path, rounds = sys.argv[1], int(sys.argv[2])
cache = {"key_value": {"maximum_size": 100, "expire_after_access": 3600}}
calls = 0
def increment(value):
    global calls
    calls += 1
    return b"%d" % (int(value or b"0") + 1)
with statekeep.open({"sqlite": {"path": path, "synchronous": "off"}, "cache": cache}) as storage:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(rounds):
        storage.values.get_many([f"counter/{each}" for each in range(3)])
        storage.values.update(f"counter/{number % 3}", increment, attempts=1000)
print(calls)
"""


def test_several_processes_lose_no_update_through_their_caches(tmp_path: Path) -> None:
    """Each reads what may be an hour old: that costs conflicts, and nothing else."""
    path = tmp_path / "state.db"
    command = [sys.executable, "-c", INCREMENT, str(path), "600"]
    with statekeep.open({"sqlite": {"path": str(path)}}) as storage:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]
        for each in started:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in started:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        calls = [int(each.communicate(timeout=120)[0]) for each in started]
        assert [each.returncode for each in started] == [0] * 4
        totals = [int(entry.value) for _, entry in storage.values.scan("counter/")]
    assert totals == [800, 800, 800]
    assert sum(calls) > 2400  # some read what was stale, and tried again


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


def test_what_is_not_asked_for_goes_first() -> None:
    """Bounded in entries; the counters tell."""
    kept = cache(2)
    for key in "ab":
        kept.put(key, key, 1)
    kept.get("a")
    kept.put("c", "c", 3)
    assert [kept.get(key) for key in "abc"] == ["a", None, "c"]
    stats = kept.stats()
    assert (stats.hits, stats.misses, stats.evictions) == (3, 1, 1)
    assert (stats.size, stats.bytes) == (2, 4)


def test_a_scan_does_not_wash_out_the_hot_keys() -> None:
    """Ten times as many keys as there is room pass through, and the hot ones stay."""
    kept = cache(100)
    hot = [f"hot/{number}" for number in range(50)]
    for key in hot:
        kept.put(key, key, 1)
    for _ in range(2):
        for key in hot:
            assert kept.get(key) == key
    for number in range(1000):
        kept.put(f"scan/{number}", number, 1)
    assert [key for key in hot if kept.get(key) is None] == []
    assert kept.stats().size == 100


def test_a_key_that_comes_back_soon_is_kept_longer() -> None:
    """What left lately is remembered by its key alone."""
    kept = cache(10)
    kept.put("again", 1, 1)
    for number in range(10):
        kept.put(f"a/{number}", number, 1)
    assert kept.get("again") is None
    kept.put("again", 1, 1)
    for number in range(9):
        kept.put(f"b/{number}", number, 1)
    assert kept.get("again") == 1


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_the_bounds_hold_and_nothing_false_is_found(seed: int) -> None:
    """Puts, gets, discards at random, with expiry, beside a dict that knows what was put."""
    source, clock = random.Random(seed), Clock()
    kept = MemoryCache(
        MemoryCacheConfig(maximum_size=20, maximum_bytes=100, expire_after_write=50), clock
    )
    put: dict[str, tuple[int, float]] = {}
    for number in range(5000):
        key, clock.now = f"k{int(source.paretovariate(0.7)) % 60}", clock.now + source.random()
        action = source.random()
        if action < 0.05:
            kept.discard(key)
            put.pop(key, None)
        elif action < 0.4:
            kept.put(key, number, source.randrange(30))
            put[key] = (number, clock.now)
        elif (found := kept.get(key)) is not None:
            assert found == put[key][0]
            assert clock.now - put[key][1] < 50
        stats = kept.stats()
        assert stats.size <= 20
        assert 0 <= stats.bytes <= 100
    assert kept.stats().hits > 500
    kept.clear()
    assert (kept.stats().size, kept.stats().bytes) == (0, 0)


def test_many_threads_share_a_cache() -> None:
    """Nobody gets another key's value, and the bounds hold."""
    kept = MemoryCache(MemoryCacheConfig(maximum_size=50, expire_after_access=0.001))
    wrong: list[str] = []

    def work(seed: int) -> None:
        source = random.Random(seed)
        for _ in range(5000):
            key = f"k{source.randrange(100)}"
            found = kept.get(key)
            if found is None:
                kept.put(key, key, 1)
            elif found != key:
                wrong.append(key)
            if source.random() < 0.1:
                kept.discard(key)

    threads = [Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert kept.stats().size <= 50


def test_the_cache_is_bounded_in_bytes() -> None:
    """What is larger than the whole cache is not kept, and drops nothing else."""
    kept = MemoryCache(MemoryCacheConfig(maximum_size=100, maximum_bytes=10))
    kept.put("a", 1, 6)
    kept.put("huge", 1, 11)
    kept.put("b", 1, 4)
    assert kept.get("a") == kept.get("b") == 1
    kept.put("c", 1, 5)
    assert kept.stats().bytes <= 10
    assert kept.get("c") == 1


def test_without_a_maximum_size_nothing_is_cached() -> None:
    """The storage guide's default: no caching."""
    kept = MemoryCache(MemoryCacheConfig(expire_after_access=10))
    kept.put("a", 1, 1)
    assert kept.get("a") is None


def test_a_bound_in_bytes_alone_is_a_mistake() -> None:
    """It would cache nothing, in silence."""
    options = {"memory": {}, "cache": {"key_value": {"maximum_bytes": 1000}}}
    with pytest.raises(ConfigError, match=r"cache\.key_value: .* needs a maximum_size"):
        statekeep.open(options)
