"""A copy that is killed goes on where it was; a target that comes back is waited for."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from statekeep import InvalidArgument, Storage, migration
from statekeep.migration import Checkpoint, OnConflict, Pair, Progress, Selection
from statekeep.testing.support import snapshot

from tests.migration import contents, mover
from tests.migration.conftest import Config, Fresh, Open
from tests.servers.redis import RedisProcess

HOUR = timedelta(hours=1)


def fill(storage: Storage, records: int) -> None:
    """Values, sets and messages, some of them held."""
    contents.fill(storage)
    for start in range(0, records, 5000):
        numbers = range(start, min(start + 5000, records))
        storage.values.put_many({f"value/{number:07}": b"%d" % number * 50 for number in numbers})
    for start in range(0, records // 10, 500):
        with storage.transaction() as tx:
            for number in range(start, min(start + 500, records // 10)):
                tx.add(f"set/{number % 40}", b"%d" % number)
                tx.schedule("q", f"{number}", due=-HOUR)
    storage.deferred.claim("q", limit=20, lease=HOUR)


def killed(source: Config, target: Config, path: Path, after: int, pause: float) -> bool:
    """Copies in a process that is killed so many seconds after so many records; whether it was."""
    process = mover.start(source, target, path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("peak") or int(line) >= after:
            break
    time.sleep(pause)
    process.kill()
    process.communicate()
    return process.returncode != 0


def check_killed(
    fresh: Fresh, opened: Open, tmp_path: Path, pair: tuple[str, str], records: int, kills: int
) -> None:
    source, target = map(fresh, pair)
    ours = opened(source)
    fill(ours, records)
    path = tmp_path / "checkpoint.json"
    rng, done = random.Random(kills), 0
    interrupted = 0
    for number in range(kills):
        done += rng.randrange(2 * (records - done) // (kills - number + 1) + 1)
        interrupted += killed(source, target, path, done, rng.random() * 0.02)
    assert interrupted > kills // 2
    last = mover.start(source, target, path)
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    theirs = opened(target)
    assert list(migration.compare(ours.backend, theirs.backend)) == []
    counts = Checkpoint.at(path, Pair("source", "target")).counts
    assert sum(count.records for count in counts.values()) >= records
    if records < 10_000:
        assert snapshot(theirs, "") == snapshot(ours, "")


def test_a_copy_killed_at_random_goes_on(fresh: Fresh, opened: Open, tmp_path: Path) -> None:
    """Three times; nothing is lost, nothing is there twice, what was claimed is still held."""
    check_killed(fresh, opened, tmp_path, ("sqlite", "redis"), 2500, 3)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_copy_killed_at_twenty_random_points_goes_on(
    fresh: Fresh, opened: Open, tmp_path: Path
) -> None:
    """From PostgreSQL to Redis."""
    check_killed(fresh, opened, tmp_path, ("postgres", "redis"), 60_000, 20)


def test_a_resumed_copy_repeats_only_what_was_under_way(
    memories: tuple[Storage, Storage], tmp_path: Path
) -> None:
    """What the target had acknowledged is not read again, and its counts are kept."""
    source, target = memories
    for number in range(100):
        source.values.put(f"k{number:02}", b"")
    path = tmp_path / "checkpoint.json"

    def stop(progress: Progress) -> None:
        if progress.total.records >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migration.copy(
            source.backend,
            target.backend,
            checkpoint=Checkpoint.at(path, Pair("a", "b")),
            batch=10,
            workers=1,
            watch=stop,
        )
    source.values.delete("k00")  # behind the checkpoint: the copy does not look there again
    checkpoint = Checkpoint.at(path, Pair("a", "b"))
    assert checkpoint.resumed
    tally = migration.copy(source.backend, target.backend, checkpoint=checkpoint, batch=10)
    assert tally.total.records == 100
    (gone,) = migration.compare(source.backend, target.backend)
    assert (gone.name, gone.what) == ("k00", ("extra",))


def test_what_changed_in_the_source_before_a_resumption_is_no_conflict(
    memories: tuple[Storage, Storage], tmp_path: Path
) -> None:
    """A record that was under way and has a newer state by now; one that the target wrote is."""
    source, target = memories
    source.values.put("k", b"old")
    source.deferred.schedule("q", "m", due=HOUR)
    path = tmp_path / "checkpoint.json"
    Checkpoint(
        path, Pair("a", "b"), fresh=True
    ).save()  # killed before the first portion was acknowledged
    migration.copy(source.backend, target.backend)
    source.values.put("k", b"new")
    source.deferred.schedule("q", "m", due=2 * HOUR)
    migration.copy(source.backend, target.backend, checkpoint=Checkpoint.at(path, Pair("a", "b")))
    assert snapshot(target, "") == snapshot(source, "")
    for _ in range(2):
        target.values.put("k", b"of a worker at the target")
    Checkpoint(path, Pair("a", "b"), fresh=True).save()
    with pytest.raises(migration.TargetConflict, match="'k'"):
        migration.copy(
            source.backend, target.backend, checkpoint=Checkpoint.at(path, Pair("a", "b"))
        )


@pytest.mark.parametrize("first", [OnConflict.SKIP, OnConflict.OVERWRITE])
def test_what_a_target_had_before_is_not_taken_for_the_copys_own(
    memories: tuple[Storage, Storage], tmp_path: Path, first: OnConflict
) -> None:
    """Begun on a target with records, and gone on with as `FAIL`: they are a conflict, and stay."""
    source, target = memories
    target.values.put("k99", b"the target's, and older")
    target.deferred.schedule("q", "m", due=HOUR, payload=b"the target's")
    for number in range(100):
        source.values.put(f"k{number:02}", b"source")
    source.deferred.schedule("q", "m", due=HOUR, payload=b"source")
    before = target.values.get("k99"), list(target.deferred.scan("q"))
    path = tmp_path / "checkpoint.json"

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migration.copy(
            source.backend,
            target.backend,
            on_conflict=first,
            checkpoint=Checkpoint.at(path, Pair("a", "b")),
            batch=5,
            workers=1,
            watch=stop,
        )
    for _ in range(2):
        checkpoint = Checkpoint.at(path, Pair("a", "b"))
        assert checkpoint.resumed
        with pytest.raises(migration.TargetConflict, match="'k99'"):
            migration.copy(source.backend, target.backend, checkpoint=checkpoint)
    assert (target.values.get("k99"), list(target.deferred.scan("q"))) == before


def test_a_checkpoint_belongs_to_one_move(tmp_path: Path) -> None:
    """Another source, target or selection is refused, and so is a file that is none."""
    path = tmp_path / "checkpoint.json"
    Checkpoint.at(path, Pair("a", "b")).save()
    for other in (Pair("a", "c"), Pair("c", "b"), Pair("a", "b", Selection("prefix"))):
        with pytest.raises(InvalidArgument, match="another move"):
            Checkpoint.at(path, other)
    for content in (
        b"",
        b"{}",
        b"[1]",
        b"\xff",
        json.dumps({"format": "x", "version": 1}).encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidArgument, match="no checkpoint"):
            Checkpoint.at(path, Pair("a", "b"))


def test_a_target_that_lost_what_was_copied_is_not_resumed(
    opened: Open, memories: tuple[Storage, Storage], tmp_path: Path
) -> None:
    """It was emptied, or is another one of the same name."""
    source, target = memories
    contents.fill(source)
    path = tmp_path / "checkpoint.json"
    migration.copy(source.backend, target.backend, checkpoint=Checkpoint.at(path, Pair("a", "b")))
    checkpoint = Checkpoint.at(path, Pair("a", "b"))
    with pytest.raises(InvalidArgument, match="the target has none"):
        migration.copy(source.backend, opened("memory:").backend, checkpoint=checkpoint)


@pytest.fixture
def own() -> Iterator[RedisProcess]:
    """A server that a test may break; what it acknowledged survives its end."""
    with RedisProcess({"appendonly": "yes", "appendfsync": "always"}) as process:
        yield process


def broken_while_copying(
    opened: Open, own: RedisProcess, tmp_path: Path, harm: Callable[[], None]
) -> None:
    """Copies, does harm in the middle, and sees that everything arrived."""
    source = opened({"sqlite": {"path": str(tmp_path / "source.db")}})
    target = opened({"redis": {"host": "127.0.0.1", "port": own.port, "timeout": 300}})
    fill(source, 3000)
    harmed = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.total.records >= 1000 and not harmed.is_set():
            harmed.set()
            harm()

    migration.copy(source.backend, target.backend, batch=100, watch=watch)
    assert harmed.is_set()
    assert snapshot(target, "") == snapshot(source, "")


def test_a_frozen_target_is_waited_for(opened: Open, own: RedisProcess, tmp_path: Path) -> None:
    """It answers nothing for longer than the client's timeout, then goes on."""

    def harm() -> None:
        own.freeze()
        threading.Timer(0.8, own.thaw).start()

    broken_while_copying(opened, own, tmp_path, harm)


def test_a_target_that_is_killed_and_started_again_is_waited_for(
    opened: Open, own: RedisProcess, tmp_path: Path
) -> None:
    """Writes whose answer was lost are repeated: it makes no difference whether they arrived."""

    def harm() -> None:
        own.kill()
        own.start()

    broken_while_copying(opened, own, tmp_path, harm)


def test_the_memory_does_not_grow_with_the_store(
    fresh: Fresh, opened: Open, tmp_path: Path
) -> None:
    """100 MB of values, and a set of many pages, pass through less than 120 MB, Python included."""
    source, target = fresh("sqlite"), fresh("sqlite")
    for config in (source, target):
        config["sqlite"]["synchronous"] = "off"
    with opened(source) as storage:
        value = random.Random(1).randbytes(2**20)
        for number in range(100):
            storage.values.put(f"large/{number}", value)
        for start in range(0, 60_000, 10_000):
            storage.sets.add("set", *(b"%d" % number for number in range(start, start + 10_000)))
    process = mover.start(source, target, tmp_path / "checkpoint.json", batch=1000)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert int(output.split()[-1]) < 120 * 10**6
