"""What any of the sources reads: values however they are stored, sets, pages; and never writes."""

from __future__ import annotations

import bz2
import gzip
import os
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import statekeep
from statekeep import Restore, Storage, Transaction, VersionConflict
from statekeep.errors import Closed, CorruptValue, InvalidArgument, Unsupported
from statekeep.model import KeySetRecord, KeyValueRecord, RecordKind

from tests.infinitic.conftest import Open
from tests.infinitic.deployments import Deployment

MIB = 2**20

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "deflate": zlib.compress,
    "deflate_1": lambda data: zlib.compress(data, 1),
    "deflate_9": lambda data: zlib.compress(data, 9),
}

STATE = b"\xc3\x01" + bytes(range(8)) + b'{"history": [' + b'"an event", ' * 80 + b"]}"
"""As a workflow's state begins: Avro's marker of a single object, then a fingerprint."""

CONTENTS = {
    "empty": b"",
    "short": b"RUNNING",
    "state": STATE,
    "large": STATE * (MIB // len(STATE)),
    "random": random.Random(7).randbytes(100_000),
    "gzip": gzip.compress(STATE),
}

KEYS = ("workflow.state.0192-7f", "workflow:Order|tag:été|setIds", "注文/東京", "a%_\\'\"b", " k ")


def test_values_are_decompressed(deployment: Deployment, opened: Open) -> None:
    """Whatever compressed them, get, get_many and scan return what Infinitic was given."""
    stored = {
        f"{name}/{what}": (compress(content), 3)
        for name, compress in COMPRESSORS.items()
        for what, content in CONTENTS.items()
    }
    wanted = {f"{name}/{what}": CONTENTS[what] for name in COMPRESSORS for what in CONTENTS}
    wanted["none/gzip"] = STATE  # as it stands, Infinitic itself would unpack it
    deployment.put(stored)
    storage = opened(deployment)
    found = storage.values.get_many(wanted)
    assert {key: entry.value for key, entry in found.items()} == wanted
    assert {entry.version for entry in found.values()} == {3}
    assert dict(storage.values.scan()) == found
    assert storage.values.get("bzip2/large") == found["bzip2/large"]


def test_keys_are_what_they_are(deployment: Deployment, opened: Open) -> None:
    """Keys of other scripts, with blanks and with what patterns use; and absent ones."""
    deployment.put({key: (key.encode(), 1) for key in KEYS})
    for key in KEYS:
        deployment.add(key + "/set", [key.encode()])
    storage = opened(deployment)
    for key in KEYS:
        entry = storage.values.get(key)
        assert entry is not None and entry.value == key.encode()
        assert storage.sets.members(key + "/set") == {key.encode()}
        assert [name for name, _ in storage.values.scan(key[:9])] == [key]
        assert list(storage.sets.scan(key)) == [key + "/set"]
    assert sorted(name for name, _ in storage.values.scan()) == sorted(KEYS)
    assert storage.values.get("absent") is None and storage.sets.members("absent") == frozenset()
    assert storage.values.get("workflow.state.0192-7") is None
    assert list(storage.values.scan("absent")) == list(storage.sets.scan("absent")) == []


def test_versions_and_their_absence(deploy: Callable[..., Deployment], opened: Open) -> None:
    """Versions are Infinitic's; of a store that is older than them, all are 1."""
    for database in ("postgres", "mysql", "redis"):
        new, old = deploy(database), deploy(database, versions=False)
        for deployment in (new, old):
            deployment.put({"a": (b"1", 1), "b": (b"2", 2**40)})
        assert versions(opened(new)) == {"a": 1, "b": 2**40}
        assert versions(opened(old)) == {"a": 1, "b": 1}


def versions(storage: Storage) -> dict[str, int]:
    found = {key: entry.version for key, entry in storage.values.scan()}
    assert found == {key: entry.version for key, entry in storage.values.get_many(found).items()}
    return found


@pytest.mark.parametrize("version", [0, 2**63])
def test_a_version_that_is_none(deployment: Deployment, opened: Open, version: int) -> None:
    """Zero, or more than a column holds: the error names the key."""
    if version and deployment.backend != "infinitic_redis":
        version = -(2**63)
    deployment.put({"odd": (b"x", version)})
    if deployment.backend == "infinitic_redis":
        deployment.client.set("odd:version", str(abs(version)))
    storage = opened(deployment)
    for read in (lambda: storage.values.get("odd"), lambda: list(storage.values.scan())):
        with pytest.raises(CorruptValue, match=r"'odd' has the version"):
            read()


DAMAGED = {
    "gzip_cut": gzip.compress(STATE)[:-9],
    "gzip_flipped": gzip.compress(STATE)[:-8] + bytes(8),
    "gzip_more": gzip.compress(STATE) + b"more",
    "bzip2_cut": bz2.compress(STATE)[:-1],
    "bzip2_alone": b"BZh",
    "deflate_cut": zlib.compress(STATE)[:-1],
    "text": b"x^2 + y^2",
    "magic_alone": b"\x1f\x8b",
}


def test_what_only_begins_as_compressed(deployment: Deployment, opened: Open) -> None:
    """Refused, naming key and option; or as it is stored, as Infinitic does, where that is said."""
    strict, lenient = opened(deployment), opened(deployment, undecodable="as_stored")
    deployment.put({"fine": (gzip.compress(STATE), 1)})
    for name, stored in DAMAGED.items():
        deployment.put({name: (stored, 2)})
        for read in (partial(strict.values.get, name), lambda: list(strict.values.scan())):
            with pytest.raises(CorruptValue, match=rf"(?s)'{name}'.*undecodable = \"as_stored\""):
                read()
        found = dict(lenient.values.scan())
        assert (found[name].value, found[name].version) == (stored, 2)
        assert found["fine"].value == STATE
        deployment.delete(name)
    assert dict(strict.values.scan()).keys() == {"fine"}


@pytest.mark.parametrize("limit", [3, 1000])
def test_paging_through_thousands(deployment: Deployment, opened: Open, limit: int) -> None:
    """All values, all sets and all members come, none twice in a page, no page too large."""
    many = 5000 if limit > 3 else 300
    names = {f"{prefix}{number:05}" for prefix in ("a/", "b/") for number in range(many // 2)}
    deployment.put({name: (name.encode(), 1) for name in names})
    members = {b"m%05d" % number for number in range(many)}
    deployment.add("sets/large", members)
    for number in range(60):
        deployment.add(f"sets/{number}", [b"x", b"y"])
    backend = opened(deployment).backend
    assert scanned(backend, RecordKind.KEY_VALUE, "", limit) == names
    assert scanned(backend, RecordKind.KEY_VALUE, "b/", limit) == {n for n in names if n[0] == "b"}
    sets = {"sets/large", *(f"sets/{number}" for number in range(60))}
    assert scanned(backend, RecordKind.KEY_SET, "", limit) == sets
    assert scanned(backend, RecordKind.KEY_SET, "sets/1", limit) == {
        name for name in sets if name.startswith("sets/1")
    }
    seen: set[bytes] = set()
    cursor = None
    while True:
        page = backend.members("sets/large", limit=limit, cursor=cursor)
        assert len(set(page.items)) == len(page.items) <= limit
        seen.update(page.items)
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == members == backend.members_many(["sets/large"])["sets/large"]


def scanned(backend: statekeep.Backend, kind: RecordKind, prefix: str, limit: int) -> set[str]:
    seen: set[str] = set()
    cursor = None
    while True:
        page = backend.scan(kind, prefix=prefix, limit=limit, cursor=cursor)
        names = [r.key for r in page.items if isinstance(r, KeyValueRecord | KeySetRecord)]
        assert len(set(names)) == len(names) == len(page.items) <= limit
        seen.update(names)
        cursor = page.cursor
        if cursor is None:
            return seen


def test_pages_of_large_values_are_short(deployment: Deployment, opened: Open) -> None:
    """A page ends where its bytes add up, however many records were asked for."""
    content = random.Random(1).randbytes(MIB // 2)
    deployment.put({f"k{number:02}": (content, 1) for number in range(36)})
    backend = opened(deployment).backend
    sizes, cursor = [], None
    while True:
        page = backend.scan(RecordKind.KEY_VALUE, prefix="", limit=1000, cursor=cursor)
        sizes.append(len(page.items))
        cursor = page.cursor
        if cursor is None:
            break
    assert sum(sizes) == 36 and len(sizes) > 1


def test_members_and_contains(deployment: Deployment, opened: Open) -> None:
    """Sets of several keys at once; a key of a value is no set, and the other way round."""
    deployment.put({"value": (b"x", 1)})
    deployment.add("set", [b"a", b"b", b"0192"])
    storage = opened(deployment)
    assert storage.sets.members_many(["set", "absent", "value"]) == {
        "set": {b"a", b"b", b"0192"},
        "absent": frozenset(),
        "value": frozenset(),
    }
    assert storage.backend.contains("set", [b"a", b"z", b"A"]) == {b"a"}
    assert storage.backend.contains("value", [b"a"]) == frozenset()
    assert storage.sets.page("value", limit=5).items == ()
    assert storage.values.get("set") is None


WRITES: dict[str, Callable[[Storage], object]] = {
    "put": lambda storage: storage.values.put("key", b"new"),
    "put_if": lambda storage: storage.values.put("key", b"new", expected=1),
    "delete": lambda storage: storage.values.delete("key"),
    "add": lambda storage: storage.sets.add("set", b"new"),
    "remove": lambda storage: storage.sets.remove("set", b"a"),
    "schedule": lambda storage: storage.deferred.schedule("q", "id", due=timedelta(0)),
    "claim": lambda storage: storage.deferred.claim("q"),
    "purge": lambda storage: storage.purge(),
    "restore": lambda storage: storage.backend.commit(
        [Transaction((Restore(next(iter(storage.backend.scan(
            RecordKind.KEY_VALUE, prefix="", limit=1, cursor=None).items))),))]  # type: ignore[arg-type]
    ),
}  # fmt: skip


def test_writes_are_refused(deployment: Deployment, opened: Open) -> None:
    """Unsupported, saying what to do; and nothing changed."""
    deployment.put({"key": (b"old", 1)})
    deployment.add("set", [b"a"])
    storage = opened(deployment)
    assert storage.capabilities.read_only
    for write in WRITES.values():
        with pytest.raises(Unsupported, match="another program's and is only read.*migrate"):
            write(storage)
    entry = storage.values.get("key")
    assert entry is not None and (entry.value, entry.version) == (b"old", 1)
    assert storage.sets.members("set") == {b"a"}


def test_there_are_no_messages(deployment: Deployment, opened: Open) -> None:
    """A scan of them is empty; its cursors are checked all the same."""
    storage = opened(deployment)
    assert list(storage.deferred.scan("timers")) == []
    with pytest.raises(InvalidArgument):
        storage.backend.scan(RecordKind.DEFERRED, prefix="", limit=1, cursor="nonsense")


def test_stats_and_missing(deployment: Deployment, opened: Open) -> None:
    """Records and stored bytes of each kind; nothing is missing, and nothing was created."""
    deployment.put({"a": (b"12345", 1), "b": (gzip.compress(STATE), 1)})
    deployment.add("set", [b"123", b"4"])
    deployment.add("other", [b"56"])
    storage = opened(deployment)
    kinds = storage.stats().kinds
    assert kinds[RecordKind.KEY_VALUE].records == 2
    assert kinds[RecordKind.KEY_VALUE].bytes == 5 + len(gzip.compress(STATE))
    assert (kinds[RecordKind.KEY_SET].records, kinds[RecordKind.KEY_SET].bytes) == (2, 6)
    assert kinds[RecordKind.DEFERRED].records == 0
    assert (storage.stats().stored_bytes or 0) > 0
    assert storage.backend.missing() == ()
    assert storage.backend.usage().pool.created >= 1
    storage.ping()
    target = str(storage.backend.target)
    assert target.startswith("127.0.0.1:") and "secret" not in target


def test_compression_and_cache_of_the_config_do_no_harm(
    deployment: Deployment, opened: Open
) -> None:
    """As Infinitic's own config has them: there are no envelopes to look into."""
    deployment.put({"key": (gzip.compress(STATE), 4)})
    with statekeep.open(
        deployment.url, compression="gzip", cache={"key_value": {"maximum_size": 10}}
    ) as storage:
        for _ in range(2):
            entry = storage.values.get("key")
            assert entry is not None and (entry.value, entry.version) == (STATE, 4)


def test_a_closed_source(deployment: Deployment) -> None:
    """Every call says so."""
    storage = statekeep.open(deployment.url)
    storage.close()
    for read in (
        lambda: storage.values.get("key"),
        lambda: list(storage.values.scan()),
        lambda: storage.sets.members("set"),
        lambda: storage.ping(),
        lambda: storage.stats(),
    ):
        with pytest.raises(Closed):
            read()


def test_a_copy_keeps_the_versions(deployment: Deployment, opened: Open, tmp_path: Path) -> None:
    """Through the public API into SQLite: a write prepared before the move still holds, or not."""
    deployment.put({f"k{number}": (gzip.compress(STATE), 1 + number % 5) for number in range(500)})
    for number in range(50):
        deployment.add(f"tag/{number}", [b"id%d" % each for each in range(number + 1)])
    source = opened(deployment)
    with statekeep.open(f"sqlite:///{tmp_path / 's.db'}", compression="gzip") as target:
        copy(source, target)
        assert dict(target.values.scan()) == dict(source.values.scan())
        for key in source.sets.scan():
            assert target.sets.members(key) == source.sets.members(key)
        assert sorted(target.sets.scan()) == sorted(source.sets.scan())
        assert target.values.put("k7", b"next", expected=3) == 4
        with pytest.raises(VersionConflict):
            target.values.put("k8", b"next", expected=3)


def copy(source: Storage, target: Storage) -> None:
    cursor = None
    while True:
        page = source.backend.scan(RecordKind.KEY_VALUE, prefix="", limit=100, cursor=cursor)
        records = [record for record in page.items if isinstance(record, KeyValueRecord)]
        target.backend.commit([Transaction(tuple(Restore(record) for record in records))])
        cursor = page.cursor
        if cursor is None:
            break
    for key in source.sets.scan():
        for members in source.sets.pages(key):
            target.sets.add(key, *members.items)


def test_the_command_line_reads_it(deployment: Deployment) -> None:
    """As docs/infinitic.md says, with the URL in the environment."""
    deployment.put({"workflow.state.1": (gzip.compress(STATE), 7)})
    deployment.add("workflow:Order|tag:eu|setIds", [b"1", b"2"])

    def run(*arguments: str) -> bytes:
        command = [sys.executable, "-m", "statekeep.cli", *arguments]
        environment = {**os.environ, "STATEKEEP_URL": deployment.url}
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, timeout=60
        ).stdout

    assert run("list", "workflow.state.").split() == [
        b"workflow.state.1", b"7", str(len(STATE)).encode(), b"-",
    ]  # fmt: skip
    assert run("get", "workflow.state.1") == STATE
    assert b"key_set.records\t1" in run("stats")
