"""Between any two backends a store arrives as it was, by copy and by file."""

from __future__ import annotations

import io
from itertools import product

import pytest
from statekeep import VersionConflict, migration
from statekeep.testing.support import snapshot

from tests.migration import contents
from tests.migration.conftest import BACKENDS, Fresh, Open
from tests.servers.redis import RedisCluster

PAIRS = list(product(BACKENDS, BACKENDS))


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=map("-".join, PAIRS))
def test_a_copy_is_what_the_source_was(
    fresh: Fresh, opened: Open, source: str, target: str
) -> None:
    """Values, versions, expiry, sets, due times, leases, attempts: all as before, on any pair."""
    ours = opened(fresh(source))
    theirs = opened(fresh(target), compression="gzip")
    contents.fill(ours, seed=PAIRS.index((source, target)))
    held = next(message for message in ours.deferred.scan("timers") if message.token)
    version = ours.values.get(contents.NAMES[0]).version
    tally = migration.copy(ours.backend, theirs.backend, batch=7, workers=2)
    assert snapshot(theirs, "") == snapshot(ours, "")
    assert list(migration.compare(ours.backend, theirs.backend)) == []
    assert tally.total.written == tally.total.records > len(contents.NAMES)

    assert theirs.values.put(contents.NAMES[0], b"", expected=version) == version + 1
    with pytest.raises(VersionConflict):
        theirs.values.put(contents.NAMES[1], b"", expected=version - 1)
    theirs.deferred.acknowledge(held)
    theirs.values.delete(contents.NAMES[0])
    assert theirs.values.put(contents.NAMES[0], b"", expected=0) > version + 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_export_is_what_the_source_was(fresh: Fresh, opened: Open, backend: str) -> None:
    """Written from a backend and read into a new one of the same kind."""
    ours, theirs = opened(fresh(backend)), opened(fresh(backend))
    contents.fill(ours, seed=BACKENDS.index(backend))
    file = io.BytesIO()
    written = migration.export(ours.backend, file, backend=backend)
    file.seek(0)
    read = migration.import_(theirs.backend, file, workers=2)
    assert snapshot(theirs, "") == snapshot(ours, "")
    for kind, count in written.counts.items():
        assert (count.records, count.members) == (
            read.counts[kind].records, read.counts[kind].members,
        )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_what_is_selected_is_moved(fresh: Fresh, opened: Open, backend: str) -> None:
    """A prefix of keys, and of queues; and some kinds only."""
    ours, theirs = opened(fresh(backend)), opened("memory:")
    contents.fill(ours, prefix="a/")
    contents.fill(ours, prefix="b/")
    migration.copy(ours.backend, theirs.backend, migration.Selection("a/"))
    assert snapshot(theirs, "") == snapshot(ours, "a/")
    only_sets = opened("memory:")
    migration.copy(ours.backend, only_sets.backend, migration.Selection("", [SETS]))
    assert snapshot(only_sets, "") == ({}, snapshot(ours, "")[1], [])


SETS = migration.EVERYTHING.kinds[1]


@pytest.mark.xdist_group("redis-six-nodes")
def test_a_cluster_is_copied_both_ways(opened: Open) -> None:
    """Each record is a transaction of its own there, and its scans have an order of their own."""
    cluster = RedisCluster(replicas=0)
    try:
        ours, back = opened("memory:"), opened("memory:")
        theirs = opened({"redis": {"nodes": cluster.addresses}})
        contents.fill(ours)
        migration.copy(ours.backend, theirs.backend)
        assert list(migration.compare(ours.backend, theirs.backend)) == []
        migration.copy(theirs.backend, back.backend)
        assert snapshot(back, "") == snapshot(ours, "")
    finally:
        cluster.close()
