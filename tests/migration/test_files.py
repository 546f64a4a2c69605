"""Export files: cut, damaged and foreign ones are refused whole; archives delete what they hold."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from statekeep import (
    CorruptValue,
    Entry,
    InvalidArgument,
    Page,
    Record,
    RecordKind,
    Restore,
    Storage,
    Transaction,
    migration,
)
from statekeep.layers.base import Layer
from statekeep.migration import ARCHIVED, DamagedFile, OnConflict, Selection, blocks, durable
from statekeep.model import Outcome
from statekeep.testing.support import snapshot

from tests.migration import contents

HOUR = timedelta(hours=1)
Pair = tuple[Storage, Storage]


def small(storage: Storage) -> None:
    """A few records of each kind."""
    for number in range(6):
        storage.values.put(f"k{number}", b"%d" % number * number, ttl=HOUR if number == 2 else None)
        storage.sets.add(f"s{number % 2}", b"%d" % number)
        storage.deferred.schedule("q", f"{number}", due=-HOUR, payload=b"p")
    storage.deferred.claim("q", limit=2, lease=HOUR)


def exported(storage: Storage, *arguments: Any, **more: Any) -> bytes:
    file = io.BytesIO()
    migration.export(storage.backend, file, *arguments, **more)
    return file.getvalue()


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines each."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 300)


def test_a_file_cut_at_any_byte_is_refused(memories: Pair, in_blocks: None) -> None:
    """With the count of what was good before; nothing is written."""
    source, target = memories
    small(source)
    content = exported(source)
    good = []
    for end in range(len(content)):
        with pytest.raises(DamagedFile) as caught:
            migration.import_(target.backend, io.BytesIO(content[:end]))
        good.append(caught.value.good)
    assert snapshot(target, "") == ({}, {}, [])
    assert good == sorted(good)
    assert good[0] == 0
    assert good[-1] == 14
    assert len(set(good)) > 4
    assert "the 14 records before are good" in str(caught.value)


def test_a_file_with_any_byte_changed_is_refused(memories: Pair, in_blocks: None) -> None:
    """Or the byte means nothing, as the time in a gzip header, and all is read as it was."""
    source, target = memories
    small(source)
    content = exported(source)
    harmless = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        try:
            migration.check_file(io.BytesIO(damaged))
        except DamagedFile:
            continue
        harmless += 1
        migration.import_(target.backend, io.BytesIO(damaged))
        assert snapshot(target, "") == snapshot(source, "")
    assert harmless < 10 * content.count(b"\x1f\x8b\x08")


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def packed(found: list[dict[str, Any]]) -> bytes:
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in found))


VALUE = {"key": "x", "version": 1, "value": ""}
SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "empty"),
    "no gzip": (lambda content: b"PK" + content, "damaged"),
    "something behind": (lambda content: content + b"more", "damaged|cut off"),
    "two exports": (lambda content: content + content, "follows its trailer"),
    "no trailer": (lambda content: packed(lines(content)[:-1]), "trailer is missing"),
    "a record less": (lambda content: packed(lines(content)[:1] + lines(content)[2:]), "checksum"),
    "no header": (lambda content: packed(lines(content)[1:]), "header"),
    "two headers": (lambda content: packed(lines(content)[:1] * 2), "header"),
    "no JSON": (lambda content: gzip.compress(b"hello\n"), "format"),
    "no object": (lambda content: gzip.compress(b"[1]\n"), "no JSON object"),
    "another format": (lambda content: packed([{"format": "x"}]), "another format"),
    "a later version": (
        lambda content: packed([{**lines(content)[0], "version": 2}]),
        "version 2; this release reads 1",
    ),
    "a key too long": (lambda content: _with({**VALUE, "key": "x" * 1025}, content), "key"),
    "no version": (lambda content: _with({**VALUE, "version": 0}, content), "positive"),
    "a field missing": (lambda content: _with({"key": "x", "version": 1}, content), "lacks"),
    "no base64": (lambda content: _with({"set": "x", "members": ["?"]}, content), "format"),
    "no members": (lambda content: _with({"set": "x", "members": []}, content), "members"),
    "nested without end": (lambda content: gzip.compress(b"[" * 200_000 + b"\n"), "format"),
    "a trailer of another kind": (
        lambda content: packed([lines(content)[0]])
        + packed([{**lines(content)[-1], "records": []}]),
        "format",
    ),
    "no time": (
        lambda content: _with(
            {"queue": "q", "id": "1", "due": "now", "visible": 1, "attempt": 0, "token": "",
             "payload": ""}, content),
        "microseconds",
    ),
}  # fmt: skip


def _with(line: dict[str, Any], content: bytes) -> bytes:
    return packed([*lines(content)[:1], line])


@pytest.mark.parametrize("spoilt", SPOILT)
def test_what_is_no_whole_export_is_refused(memories: Pair, spoilt: str) -> None:
    """By reading it to its end, before anything is written."""
    source, target = memories
    small(source)
    spoil, reason = SPOILT[spoilt]
    with pytest.raises(DamagedFile, match=reason):
        migration.import_(target.backend, io.BytesIO(spoil(exported(source))))
    assert snapshot(target, "") == ({}, {}, [])


def test_a_trailer_that_lies_is_refused(memories: Pair) -> None:
    """About the numbers, where its checksum is right."""
    source, _ = memories
    small(source)
    content = lines(exported(source))
    content[-1]["members"] += 1
    text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in content)
    *before, trailer = text.splitlines(keepends=True)
    with pytest.raises(DamagedFile, match="not as many"):
        migration.check_file(io.BytesIO(gzip.compress(b"".join(before)) + gzip.compress(trailer)))


def test_a_stream_that_cannot_be_read_twice_is_imported_whole(memories: Pair) -> None:
    """Such as a pipe: it is spooled to a temporary file."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    source, target = memories
    small(source)
    migration.import_(target.backend, Pipe(exported(source)))
    assert snapshot(target, "") == snapshot(source, "")


def test_large_values_and_sets_go_through_a_file(memories: Pair) -> None:
    """A value of many blocks' size, and a set of several pages."""
    source, target = memories
    source.values.put("large", bytes(5 * 2**20))
    source.values.put("small", b"")
    source.sets.add("set", *(b"%d" % number for number in range(9000)))
    file = io.BytesIO(exported(source))
    tally = migration.import_(target.backend, file)
    assert tally.counts[RecordKind.KEY_SET].members == 9000
    assert tally.counts[RecordKind.KEY_SET].records == 1
    assert snapshot(target, "") == snapshot(source, "")


def test_since_selects_values_by_their_creation(memories: Pair) -> None:
    """An update of an older one is not among them; sets and messages cannot be asked for."""
    source, _ = memories
    source.values.put("old", b"")
    since = datetime.now(UTC)
    source.values.put("old", b"updated")
    source.values.put("new", b"")
    values = Selection("", [RecordKind.KEY_VALUE])
    found = lines(exported(source, values, since=since))
    assert [line["key"] for line in found[1:-1]] == ["new"]
    assert datetime.fromtimestamp(found[0]["since"] / 1e6, UTC) == since
    with pytest.raises(InvalidArgument, match="since"):
        exported(source, since=since)


def archive(storage: Storage, content: bytes) -> migration.Archived:
    return migration.delete_exported(storage.backend, io.BytesIO(content))


class Twice(Layer):
    """A source that gives its values a second time, after they were written anew."""

    def scan(self, kind: RecordKind, **more: Any) -> Page[Record]:
        page = super().scan(kind, **more)
        if kind is not RecordKind.KEY_VALUE:
            return page
        first = [evolve(each, entry=Entry(b"old", each.entry.version - 1)) for each in page.items]
        return Page((*first, *page.items), page.cursor)


@pytest.mark.parametrize("how", [OnConflict.FAIL, OnConflict.OVERWRITE])
@pytest.mark.parametrize("number", [1, 900, 9000])
def test_of_a_record_that_a_file_holds_twice_the_later_arrives(
    memories: Pair, how: OnConflict, number: int
) -> None:
    """Near or far from each other, and however slow the writing of the first is."""
    source, target = memories
    source.values.put_many({f"k{each}": b"new" for each in range(number)})
    content = exported(Storage(Twice(source.backend)), Selection("", ARCHIVED))

    class Slow(Layer):
        """What is old takes its time."""

        def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
            first = transactions[0].operations[0]
            if isinstance(first, Restore) and first.record.entry.value == b"old":
                time.sleep(0.05)
            return super().commit(transactions)

    migration.import_(Slow(target.backend), io.BytesIO(content), on_conflict=how)
    assert snapshot(target, "") == snapshot(source, "")


def test_an_archive_deletes_what_it_holds_and_nothing_else(memories: Pair) -> None:
    """Values that changed and members that were added since stay; the file restores the rest."""
    source, target = memories
    small(source)
    before = snapshot(source, "")
    content = exported(source, Selection("", ARCHIVED))
    source.values.put("k1", b"changed")
    source.values.delete("k3")
    source.values.put("k9", b"new")
    source.sets.add("s0", b"later")
    done = archive(source, content)
    assert done.kept == ["k1"]
    assert set(dict(source.values.scan())) == {"k1", "k9"}
    assert {key: source.sets.members(key) for key in source.sets.scan()} == {"s0": {b"later"}}
    assert len(list(source.deferred.scan("q"))) == 6
    migration.import_(target.backend, io.BytesIO(content))
    assert snapshot(target, "")[:2] == before[:2]
    archive(source, content)  # it may have been killed: again deletes no more
    assert set(dict(source.values.scan())) == {"k1", "k9"}


def test_a_name_is_taken_once_also_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system of a USB stick: the file appears, or what is there stays."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "x"
    for content in (b"first", b"second"):
        with suppress(FileExistsError), durable.creating(path) as file:
            file.write(content)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_of_a_damaged_or_foreign_file_deletes_nothing(memories: Pair) -> None:
    """Cut off, with messages, or of a store whose values are others at the same versions."""
    source, _ = memories
    small(source)
    content = exported(source, Selection("", ARCHIVED))
    before = snapshot(source, "")
    with pytest.raises(DamagedFile):
        archive(source, content[:-1])
    with pytest.raises(InvalidArgument, match="messages"):
        archive(source, exported(source))
    changed = lines(content)
    changed[2]["value"] = "eHg="
    text = b"".join(
        json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in changed[:-1]
    )
    body = io.BytesIO()
    writer = blocks.BlockWriter(body)
    writer.write(text)
    writer.flush()
    trailer = {**changed[-1], "bytes": writer.bytes, "sha256": writer.sha256}
    writer.write(json.dumps(trailer).encode() + b"\n")
    writer.flush()
    with pytest.raises(CorruptValue, match="'k1' in the file is not the one"):
        archive(source, body.getvalue())
    assert snapshot(source, "") == before


def test_the_text_of_the_file_is_as_documented(memories: Pair) -> None:
    """Field by field, in their order."""
    source, _ = memories
    small(source)
    header, *records, trailer = lines(exported(source, backend="memory"))
    assert list(header) == [
        "format", "version", "created", "statekeep", "backend", "prefix", "kinds", "since",
    ]  # fmt: skip
    assert list(records[2]) == ["key", "version", "expires", "value"]
    assert list(records[0]) == ["key", "version", "value"]
    assert list(records[6]) == ["set", "members"]
    assert list(records[8]) == ["queue", "id", "due", "visible", "attempt", "token", "payload"]
    assert trailer["records"] == {"key_value": 6, "key_set": 2, "deferred": 6}
    assert (trailer["end"], trailer["members"]) == ("statekeep-export", 6)


def test_contents_of_every_kind_survive(memories: Pair) -> None:
    """Keys of any text, values of any bytes."""
    source, target = memories
    contents.fill(source, seed=7)
    migration.import_(target.backend, io.BytesIO(exported(source)))
    assert snapshot(target, "") == snapshot(source, "")
