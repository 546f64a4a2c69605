"""What becomes of what the target has already: nothing is replaced unless somebody said so."""

from __future__ import annotations

import io
from datetime import timedelta
from threading import Event

import pytest
from attrs import evolve
from statekeep import (
    Backend,
    Capabilities,
    InvalidArgument,
    RecordKind,
    Storage,
    Unavailable,
    Unsupported,
    migration,
)
from statekeep.layers.base import Layer
from statekeep.migration import OnConflict, TargetConflict
from statekeep.testing.support import snapshot

from tests.migration import contents
from tests.migration.conftest import Open

HOUR = timedelta(hours=1)
Pair = tuple[Storage, Storage]


class Limited(Layer):
    """A backend of fewer capabilities."""

    def __init__(self, inner: Backend, **less: object) -> None:
        super().__init__(inner)
        self._less = less

    @property
    def capabilities(self) -> Capabilities:
        return evolve(self.inner.capabilities, **self._less)


@pytest.mark.parametrize("kind", list(RecordKind))
def test_a_target_that_is_not_empty_is_refused(memories: Pair, kind: RecordKind) -> None:
    """By one record of any selected kind, which is named; nothing is written."""
    source, target = memories
    contents.fill(source)
    if kind is RecordKind.KEY_VALUE:
        target.values.put("there", b"")
    elif kind is RecordKind.KEY_SET:
        target.sets.add("there", b"m")
    else:
        target.deferred.schedule("there", "id", due=HOUR)
    before = snapshot(target, "")
    with pytest.raises(TargetConflict, match="there"):
        migration.copy(source.backend, target.backend)
    assert snapshot(target, "") == before
    others = migration.Selection("", [each for each in RecordKind if each is not kind])
    migration.copy(source.backend, target.backend, others)


def conflicting(memories: Pair) -> Pair:
    """A value, a message and a set that both have, otherwise; and one of each that is the same."""
    source, target = memories
    for name in ("same", "other"):
        source.values.put(name, name.encode())
        source.deferred.schedule("q", name, due=HOUR, payload=b"source")
    source.sets.add("s", b"a", b"b")
    migration.copy(source.backend, target.backend)
    source.values.put("new", b"source")
    target.values.put("other", b"target")
    target.deferred.schedule("q", "other", due=HOUR, payload=b"target")
    target.sets.remove("s", b"a")
    target.sets.add("s", b"c")
    return source, target


def test_skip_keeps_what_the_target_has(memories: Pair) -> None:
    """Missing records are written; sets get the members that they lack, and lose none."""
    source, target = conflicting(memories)
    tally = migration.copy(source.backend, target.backend, on_conflict=OnConflict.SKIP)
    values = tally.counts[RecordKind.KEY_VALUE]
    assert (values.written, values.same, values.kept) == (1, 1, 1)
    assert tally.counts[RecordKind.DEFERRED].kept == 1
    assert target.values.get("other").value == b"target"
    assert target.values.get("new").value == b"source"
    assert {m.id: m.payload for m in target.deferred.scan("q")}["other"] == b"target"
    assert target.sets.members("s") == {b"a", b"b", b"c"}


def test_overwrite_takes_the_sources_word(memories: Pair) -> None:
    """Value, version and message become those of the source; sets lose nothing."""
    source, target = conflicting(memories)
    migration.copy(source.backend, target.backend, on_conflict=OnConflict.OVERWRITE)
    assert target.values.get("other") == source.values.get("other")
    found = list(migration.compare(source.backend, target.backend))
    assert [(each.name, each.what, each.member) for each in found] == [("s", ("extra",), b"c")]


def test_import_fails_before_anything_is_written(memories: Pair) -> None:
    """One record of the file that the store has otherwise, and none of the file is written."""
    source, target = memories
    contents.fill(source)
    file = io.BytesIO()
    migration.export(source.backend, file)
    target.deferred.schedule("timers", "later", due=HOUR, payload=b"other")
    before = snapshot(target, "")
    file.seek(0)
    with pytest.raises(TargetConflict, match="later"):
        migration.import_(target.backend, file)
    assert snapshot(target, "") == before
    file.seek(0)
    migration.import_(target.backend, file, on_conflict=OnConflict.SKIP)
    (different,) = migration.compare(source.backend, target.backend)
    assert different.name == ("timers", "later")


def test_what_is_there_exactly_so_is_no_conflict(memories: Pair) -> None:
    """An import may be repeated, whatever was written of it before."""
    source, target = memories
    contents.fill(source)
    file = io.BytesIO()
    migration.export(source.backend, file)
    for _ in range(2):
        file.seek(0)
        tally = migration.import_(target.backend, file)
    assert tally.total.same == 2 * len(contents.NAMES) + 1
    assert snapshot(source, "") == snapshot(target, "")


def test_a_record_written_at_the_target_meanwhile_is_found(memories: Pair) -> None:
    """Also where the target was empty at the beginning: it is not overwritten."""
    source, target = memories
    for number in range(50):
        source.values.put(f"k{number:02}", b"source")

    def watch(progress: object) -> None:
        target.values.put("k49", b"target")

    with pytest.raises(TargetConflict, match="k49"):
        migration.copy(source.backend, target.backend, batch=5, workers=1, watch=watch)
    assert target.values.get("k49").value == b"target"


def test_values_too_large_for_the_target_are_named_before_anything_is_written(
    memories: Pair,
) -> None:
    """By copy and by import."""
    source, target = memories
    source.values.put("a", b"")
    source.values.put("large", b"x" * 1001)
    source.deferred.schedule("q", "large", due=HOUR, payload=b"x" * 1002)
    small = Limited(target.backend, max_value_bytes=1000)
    with pytest.raises(InvalidArgument, match=r"'large' \(1001 bytes\), .*'q'/'large'"):
        migration.copy(source.backend, small)
    file = io.BytesIO()
    migration.export(source.backend, file)
    file.seek(0)
    with pytest.raises(InvalidArgument, match=r"'large' \(1001 bytes\)"):
        migration.import_(small, file)
    assert snapshot(target, "") == ({}, {}, [])


def test_values_that_expire_are_refused_by_a_target_without_expiry(memories: Pair) -> None:
    """They would live for ever; and the same without them is copied."""
    source, target = memories
    source.values.put("a", b"")
    source.values.put("mortal", b"", ttl=HOUR)
    eternal = Limited(target.backend, expiry=False)
    with pytest.raises(Unsupported, match="'mortal'"):
        migration.copy(source.backend, eternal)
    assert snapshot(target, "") == ({}, {}, [])
    source.values.delete("mortal")
    migration.copy(source.backend, eternal)


def test_a_target_that_is_read_only_is_refused(memories: Pair) -> None:
    """Before anything is read."""
    source, target = memories
    locked = Limited(target.backend, read_only=True)
    for move in (migration.copy, migration.follow):
        with pytest.raises(Unsupported, match="read-only"):
            move(source.backend, locked)
    with pytest.raises(Unsupported, match="read-only"):
        migration.import_(locked, io.BytesIO())


def test_a_value_that_expires_on_the_way_does_not_come_to_life(
    memories: Pair, opened: Open
) -> None:
    """Its time was over when it arrived."""
    source, target = memories
    source.values.put("mortal", b"", ttl=timedelta(milliseconds=200))
    file = io.BytesIO()
    migration.export(source.backend, file)
    Event().wait(0.25)
    file.seek(0)
    migration.import_(target.backend, file)
    assert target.values.get("mortal") is None
    assert list(migration.compare(source.backend, target.backend)) == []


class Away(Layer):
    """Fails a number of calls, before or after they were carried out."""

    def __init__(self, inner: Backend, failures: int) -> None:
        super().__init__(inner)
        self.left = failures

    def commit(self, transactions):
        if self.left > 0:
            self.left -= 1
            raise Unavailable("away")
        return super().commit(transactions)


def test_a_store_that_stays_away_is_an_error_in_the_end(memories: Pair) -> None:
    """After the patience given, and not before."""
    source, target = memories
    contents.fill(source)
    migration.copy(source.backend, Away(target.backend, 2), workers=1)
    assert snapshot(source, "") == snapshot(target, "")
    with pytest.raises(Unavailable) as caught:
        migration.copy(
            source.backend,
            Away(target.backend, 10**9),
            on_conflict=OnConflict.OVERWRITE,
            patience=timedelta(milliseconds=200),
        )
    assert "given up after 0.2 s" in caught.value.__notes__
