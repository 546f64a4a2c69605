"""Counting and timing: what `usage()` and `stats()` tell of calls, and that counting is exact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
import statekeep
from statekeep import Storage, VersionConflict, aio
from statekeep.backend import Backend
from statekeep.layers.metrics import MetricsLayer
from statekeep.metrics import MOST_QUEUED, READS, WRITES, Recorder, Series
from statekeep.model import (
    Add,
    Delete,
    KeyValueRecord,
    Put,
    Remove,
    Restore,
    Schedule,
    Transaction,
)
from statekeep.naming import load_of
from statekeep.testing.forks import in_child
from statekeep.usage import BOUNDS, CallStats, CompressionStats, PoolStats, total
from statekeep_memory.backend import MemoryBackend

from core.tests.gated import on_loop

NOW = timedelta(0)


@pytest.fixture
def storage() -> Iterator[Storage]:
    with statekeep.open({"memory": {}}) as storage:
        yield storage


def counts(storage: Storage) -> dict[str, int]:
    return {name: each.count for name, each in storage.usage().calls.items()}


def test_every_call_is_counted_by_its_operation(storage: Storage) -> None:
    """One operation alone has its own name, several are a transaction."""
    storage.values.put("k", b"1")
    storage.values.get("k")
    storage.values.get_many(["k", "l"])
    storage.sets.add("s", b"m")
    storage.sets.members("s")
    storage.sets.members_many(["s", "t"])
    storage.sets.contains("s", b"m")
    storage.sets.page("s", limit=1)
    storage.deferred.schedule("q", "id", due=NOW)
    (message,) = storage.deferred.claim("q")
    storage.deferred.extend(message, timedelta(seconds=9))
    storage.deferred.release(message)
    storage.backend.messages_many([("q", "id")])
    storage.deferred.cancel("q", "id")
    list(storage.values.scan())
    with storage.transaction() as tx:
        tx.put("k", b"2")
        tx.remove("s", b"m")
    storage.values.delete("k")
    storage.ping()
    storage.purge()
    names = (
        *("put", "get", "get_many", "add", "members", "members_many", "contains", "page"),
        *("schedule", "claim", "extend", "release", "cancel", "scan", "transaction", "delete"),
        *("messages_many", "ping", "purge"),
    )
    assert counts(storage) == dict.fromkeys(names, 1)
    assert set(names) <= {*READS, *WRITES}


def test_records_and_bytes_are_those_of_values_members_and_payloads(storage: Storage) -> None:
    """Keys asked for, operations committed, messages claimed; bytes by direction."""
    with storage.transaction() as tx:
        tx.put("k", b"12345")
        tx.add("s", b"ab", b"c")
        tx.schedule("q", "id", due=NOW, payload=b"1234567")
        tx.delete("absent")
    storage.values.get_many(["k", "absent"])
    storage.sets.members("s")
    storage.deferred.claim("q")
    calls = storage.usage().calls
    assert (calls["transaction"].records, calls["transaction"].bytes_written) == (4, 15)
    assert (calls["get_many"].records, calls["get_many"].bytes_read) == (2, 5)
    assert (calls["members"].records, calls["members"].bytes_read) == (1, 3)
    assert (calls["claim"].records, calls["claim"].bytes_read) == (1, 7)
    assert calls["get_many"].bytes_written == calls["transaction"].bytes_read == 0


def test_conflicts_and_errors_are_counted_by_name(storage: Storage) -> None:
    """A condition that did not hold is one of them; the call is counted all the same."""
    storage.values.put("k", b"1")
    with pytest.raises(VersionConflict):
        storage.values.put("k", b"2", expected=0)
    backend = storage.backend
    storage.close()
    with pytest.raises(statekeep.Closed):
        storage.values.get("k")
    with pytest.raises(statekeep.Closed):
        storage.values.put("k", b"")
    with pytest.raises(statekeep.Closed):
        storage.sets.members("k")
    calls = backend.usage().calls
    assert (calls["put"].count, calls["put"].errors) == (3, {"VersionConflict": 1, "Closed": 1})
    assert (calls["get"].count, calls["get"].errors) == (1, {"Closed": 1})
    assert (calls["members"].count, calls["members"].errors) == (1, {"Closed": 1})


def test_retries_of_update_are_counted(storage: Storage) -> None:
    """Each time that it begins again."""
    storage.values.put("k", b"0")
    others = iter(range(2))

    def change(value: bytes | None) -> bytes:
        for each in others:
            storage.values.put("k", b"%d" % each)
            break
        return b"mine"

    storage.values.update("k", change)
    assert storage.usage().retries == 2
    assert storage.stats().retries == 2


@on_loop
async def test_tasks_are_counted_as_what_travelled() -> None:
    """A batch is one call with as many records as it had operations, and retries are the same."""
    async with aio.open({"memory": {}}) as storage:
        await storage.values.put("k", b"0")

        async def change() -> None:
            await storage.values.update("k", lambda value: b"%d" % (int(value or b"0") + 1))

        import asyncio

        await asyncio.gather(*(change() for _ in range(10)))
        usage = storage.usage()
        written = sum(usage.calls[name].records for name in ("put", "batch") if name in usage.calls)
        conflicts = sum(each.errors.get("VersionConflict", 0) for each in usage.calls.values())
        assert written == 1 + 10 + conflicts
        assert usage.retries == conflicts > 0
        assert (await storage.stats()).retries == usage.retries
        assert usage.calls["task_write"].count == written
        assert usage.calls["task_write"].slowest >= usage.calls["task_write"].p50 > 0
        await storage.ping()
        assert storage.usage().calls["task_other"].count == 2  # with stats


def test_compression_tells_what_it_gained() -> None:
    """Bytes as callers see them beside those that the store holds, envelopes included."""
    with statekeep.open({"memory": {}, "compression": "gzip"}) as storage:
        storage.values.put("k", b"a" * 10_000)
        storage.values.get("k")
        storage.deferred.schedule("q", "id", due=NOW, payload=b"b" * 5_000)
        storage.deferred.claim("q")
        found = storage.usage().compression
    assert found is not None
    assert found.written == found.read == 15_000
    assert 0 < found.written_stored == found.read_stored < 500


def test_every_operation_is_measured_by_what_it_carries() -> None:
    """Members, payloads, restored records; what carries nothing is counted with no bytes."""
    entry = statekeep.Entry(b"12", 1)
    operations = (
        Put("k", b"12345"),
        Delete("l"),
        Add("s", frozenset([b"ab", b"c"])),
        Remove("s", frozenset([b"d"])),
        Schedule("q", "id", NOW, b"1234567"),
        Restore(KeyValueRecord("r", entry)),
    )
    assert load_of([Transaction(operations), Transaction(())]) == (6, 5 + 3 + 1 + 7 + 2)
    each = [load_of([Transaction((operation,))])[1] for operation in operations]
    assert each == [5, 0, 3, 1, 7, 2]


def test_where_nothing_is_wrapped_there_is_no_compression(storage: Storage) -> None:
    """What only this process holds needs no envelope."""
    assert storage.usage().compression is None


def test_no_call_is_lost_among_threads() -> None:
    """Eight threads count into one series while another one reads it."""
    series = Series(writes=False)
    each = 5 * MOST_QUEUED
    seen: list[int] = []

    def work() -> None:
        for number in range(each):
            series.add(1e-6 * (number % 7), 2, 3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(series.stats().count)
    found = series.stats()
    assert found.count == sum(found.buckets) == 8 * each
    assert (found.records, found.bytes_read) == (16 * each, 24 * each)
    assert seen == sorted(seen)


def test_the_queue_stays_short() -> None:
    """Nobody asks for the numbers, and yet they are sorted in."""
    series = Series(writes=False)
    for _ in range(3 * MOST_QUEUED):
        series.add(0.001, 1)
    assert len(series.queued) <= MOST_QUEUED


class Interrupting(float):
    """A time during whose sorting a signal handler runs, in the thread that sorts."""

    action: Callable[[], object]

    def __lt__(self, other: float) -> bool:
        self.action()
        return float(self) < other

    def __gt__(self, other: float) -> bool:
        self.action()
        return float(self) > other


def interrupting(action: Callable[[], object]) -> Interrupting:
    found = Interrupting(0.5)
    found.action = action
    return found


def ended(action: Callable[[], object]) -> bool:
    """Whether it ends, in a thread that nobody waits for otherwise."""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


def test_calls_from_a_signal_handler_in_the_middle_of_counting() -> None:
    """They, and asking for the numbers, neither wait for the thread that they came into nor get
    lost; nor does what failed."""
    series = Series(writes=False)
    comes = iter([True])

    def handler() -> None:
        for _ in comes:
            for _ in range(2 * MOST_QUEUED):
                series.add(0.001, 1)
                series.failed("Unavailable")
            series.stats()

    series.add(interrupting(handler), 1)
    series.add(0.001, 1)
    assert ended(series.stats)
    found = series.stats()
    assert (found.count, found.records) == (2 * MOST_QUEUED + 2, 2 * MOST_QUEUED + 2)
    assert found.errors == {"Unavailable": 2 * MOST_QUEUED}


def test_no_call_waits_for_a_thread_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one may be in a signal handler that waits for the call of another thread."""
    monkeypatch.setattr("statekeep.metrics.PATIENCE", 0.01)
    series = Series(writes=False)

    def work() -> None:
        for _ in range(2 * MOST_QUEUED):
            series.add(0.001, 1)
        series.failed("Unavailable")
        series.stats()

    comes, outcome = iter([True]), list[bool]()
    series.add(interrupting(lambda: outcome.extend(ended(work) for _ in comes)), 1)
    series.stats()
    assert outcome == [True]
    assert series.stats().count == 2 * MOST_QUEUED + 1


def test_an_interrupt_while_counting_lets_others_count() -> None:
    """Ctrl-C costs one measurement, and no lock stays taken."""
    series = Series(writes=False)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    series.add(interrupting(ctrl_c), 1)
    series.add(0.001, 1)
    with pytest.raises(KeyboardInterrupt):
        series.stats()
    assert ended(lambda: [series.add(0.001, 1) for _ in range(2 * MOST_QUEUED)])
    assert series.stats().count == 2 * MOST_QUEUED + 1
    assert len(series.queued) == 0


@pytest.mark.parametrize("part", [0.5, 0.95, 0.99])
def test_quantiles_are_within_nine_percent(part: float) -> None:
    """Of a thousand times between 10 µs and 1 s, evenly spread over the decades."""
    times = [10 ** (-5 + 5 * number / 999) for number in range(1000)]
    series = Series(writes=False)
    for each in times:
        series.add(each, 1)
    exact = times[round(part * 1000) - 1]
    assert series.stats().quantile(part) == pytest.approx(exact, rel=0.1)


def test_a_quantile_of_nothing_is_zero_and_of_the_endless_the_slowest() -> None:
    """No division by zero, and no bound where there is none."""
    assert CallStats().p99 == CallStats().mean == 0.0
    series = Series(writes=False)
    series.add(500.0, 1)
    found = series.stats()
    assert found.p50 == found.slowest == found.mean == 500.0 > BOUNDS[-1]


def test_what_happened_between_two_snapshots() -> None:
    """Counts, buckets and errors are subtracted."""
    series = Series(writes=True)
    series.add(1.0, 1, 10)
    series.failed("Unavailable")
    before = series.stats()
    series.add(0.001, 2, 5)
    series.failed("VersionConflict", 3)
    between = series.stats().since(before)
    assert (between.count, between.records, between.bytes_written) == (1, 2, 5)
    assert between.errors == {"VersionConflict": 3}
    assert between.p50 == pytest.approx(0.001, rel=0.1)


def test_several_pools_are_summed() -> None:
    """And have no limit together where one has none."""
    pools = [PoolStats(in_use=1, limit=2, wait_seconds=0.5), PoolStats(in_use=3, idle=1, limit=4)]
    assert total(pools) == PoolStats(in_use=4, idle=1, limit=6, wait_seconds=0.5)
    assert total([*pools, PoolStats()]).limit is None
    assert total([]) == PoolStats(limit=0)


def test_a_forked_child_begins_at_zero() -> None:
    """What the parent did is not counted twice."""
    with statekeep.open({"memory": {}, "compression": "gzip"}) as storage:
        storage.values.put("k", b"")

        def check() -> None:
            assert storage.usage().calls == {}
            assert storage.usage().compression == CompressionStats()

        in_child(check, patience=30.0)
        assert counts(storage) == {"put": 1}


class Peeking(MemoryBackend):
    """Answers a peek for one key only."""

    def peek(self, keys: object) -> dict[str, statekeep.Entry] | None:
        return {"k": statekeep.Entry(b"123", 1)} if tuple(keys) == ("k",) else None  # type: ignore[call-overload]


def test_a_peek_counts_where_it_answers() -> None:
    """In vain it does not: the read follows."""
    layer = MetricsLayer(Peeking(), Recorder())
    assert layer.peek(["l"]) is None
    assert layer.peek(["k"]) is not None
    calls = layer.usage().calls
    assert list(calls) == ["get"]
    assert (calls["get"].count, calls["get"].bytes_read) == (1, 3)


def test_the_layer_hides_nothing_of_the_backend() -> None:
    """Target, capabilities, findings and what is missing come from inside."""
    inner: Backend = MemoryBackend()
    layer = MetricsLayer(inner, Recorder())
    assert layer.target == inner.target
    assert layer.capabilities == inner.capabilities
    assert list(layer.examine()) == list(inner.examine())
    assert layer.missing() == inner.missing()
