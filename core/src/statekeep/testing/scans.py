"""Scans: exactly the names with the prefix, whatever characters it has, while others write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import pytest

from statekeep.backend import Backend
from statekeep.errors import InvalidArgument
from statekeep.model import (
    Add,
    DeferredMessage,
    KeySetRecord,
    KeyValueRecord,
    Operation,
    Put,
    Record,
    RecordKind,
    Schedule,
)
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, commit, scan_all

KINDS = list(RecordKind)

MAKE: dict[RecordKind, Callable[[str], Operation]] = {
    RecordKind.KEY_VALUE: lambda name: Put(name, b"value"),
    RecordKind.KEY_SET: lambda name: Add(name, (b"member",)),
    RecordKind.DEFERRED: lambda name: Schedule(name, "id", HOUR),
}

PREFIXES = {
    "percent": ("a%", ("ab", "a", "a\\%"), ("a%", "a%b")),
    "underscore": ("a_", ("ab", "abc", "a"), ("a_", "a_c")),
    "backslash": ("a\\", ("a", "ab", "a/"), ("a\\", "a\\%", "a\\\\")),
    "star": ("a*", ("ab", "a"), ("a*", "a*b")),
    "question": ("a?", ("ab", "a"), ("a?", "a?b")),
    "class": ("[ab]", ("a", "b", "[a"), ("[ab]", "[ab]c")),
    "quote": ("a'", ("a", "ab"), ("a'", "a'b")),
    "case": ("Ab", ("ab", "AB", "abc"), ("Ab", "Abc")),
    "blank": ("a ", ("a", "ab", "a\t"), ("a ", "a b")),
    "whole_name": ("abc", ("ab", "abd"), ("abc", "abcd")),
    "two_bytes": ("é", ("e", "è", "ê", "e\u0301"), ("é", "éa")),
    "three_bytes": ("東", ("京", "\u6770", "\u6772"), ("東", "東京")),
    "four_bytes": ("🚀", ("🚁", "🙿"), ("🚀", "🚀a")),
    "last_code_point": ("\U0010ffff", ("\U0010fffe", "z"), ("\U0010ffff", "\U0010ffff\U0010ffff")),
    "last_of_plane": ("a\uffff", ("a\U00010000", "a\ufffe"), ("a\uffff", "a\uffffb")),
    "before_surrogates": ("a\ud7ff", ("a\ue000", "a\ud7fe"), ("a\ud7ff", "a\ud7ffz")),
}


def name_of(record: Record) -> str:
    """The key or queue of a record."""
    return record.queue if isinstance(record, DeferredMessage) else record.key


def names(records: Iterable[Record]) -> list[str]:
    """The names of the records, sorted."""
    return sorted(name_of(record) for record in records)


class ScansTests(Kit):
    """Section 3.9 of the contract, for records of all kinds."""

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    @pytest.mark.parametrize("name", PREFIXES)
    def test_scans_match_the_prefix_exactly(
        self, backend: Backend, prefix: str, kind: RecordKind, name: str
    ) -> None:
        """No character of a prefix is a wildcard, folded, or cut in two."""
        wanted, others, matching = PREFIXES[name]
        commit(backend, *(MAKE[kind](prefix + text) for text in (*others, *matching)))
        found = names(scan_all(backend, kind, prefix + wanted))
        assert found == sorted(prefix + text for text in matching)
        assert len(names(scan_all(backend, kind, prefix))) == len(others) + len(matching)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    @pytest.mark.parametrize("limit", [1, 7, 20, 21, 100])
    def test_scans_page_through_all(
        self, backend: Backend, prefix: str, kind: RecordKind, limit: int
    ) -> None:
        """Pages of any size hold all records, none twice, and no more than asked for."""
        wanted = sorted(f"{prefix}{number}" for number in range(20))
        commit(backend, *(MAKE[kind](name) for name in wanted))
        seen: list[str] = []
        cursor = None
        while True:
            page = backend.scan(kind, prefix=prefix, limit=limit, cursor=cursor)
            assert len(page.items) <= limit
            seen += names(page.items)
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == wanted

    def test_scans_show_their_own_kind(self, backend: Backend, prefix: str) -> None:
        """A scan yields records of the kind asked for, complete with their contents."""
        commit(
            backend,
            Put(prefix + "v", b"value"),
            Add(prefix + "s", (b"member",)),
            Schedule(prefix + "q", "id", PAST, b"payload"),
        )
        entry = backend.get_many([prefix + "v"])[prefix + "v"]
        assert list(scan_all(backend, RecordKind.KEY_VALUE, prefix)) == [
            KeyValueRecord(prefix + "v", entry)
        ]
        assert list(scan_all(backend, RecordKind.KEY_SET, prefix)) == [KeySetRecord(prefix + "s")]
        (message,) = scan_all(backend, RecordKind.DEFERRED, prefix)
        assert isinstance(message, DeferredMessage)
        assert (message.name, message.payload) == ((prefix + "q", "id"), b"payload")

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    def test_scans_may_take_everything(self, backend: Backend, kind: RecordKind) -> None:
        """The empty prefix begins every name; one page of it, as the store may be large."""
        page = backend.scan(kind, prefix="", limit=5, cursor=None)
        assert len(page.items) <= 5 and len(set(page.items)) == len(page.items)

    def test_scans_survive_deletion_of_what_was_seen(self, storage: Storage, prefix: str) -> None:
        """Deleting each record as it comes by skips none."""
        keys = {f"{prefix}{number:04}" for number in range(100)}
        storage.values.put_many(dict.fromkeys(keys, b""))
        seen: set[str] = set()
        cursor = None
        while True:
            page = storage.backend.scan(RecordKind.KEY_VALUE, prefix=prefix, limit=7, cursor=cursor)
            for name in names(page.items):
                seen.add(name)
                storage.values.delete(name)
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == keys
        assert list(storage.values.scan(prefix)) == []

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.value)
    def test_scans_while_writing_miss_nothing_that_stays(
        self, backend: Backend, prefix: str, kind: RecordKind
    ) -> None:
        """Records present throughout are seen by every scan, none twice in one page."""
        stay = {f"{prefix}{number:03}" for number in range(0, 100, 2)}
        commit(backend, *(MAKE[kind](name) for name in stay))
        stop = threading.Event()

        def write() -> None:
            number = 0
            storage = Storage(backend)
            while not stop.is_set():
                number = (number + 2) % 100
                name = f"{prefix}{number + 1:03}"
                commit(backend, MAKE[kind](name))
                storage.values.delete(name)
                storage.sets.remove(name, b"member")
                storage.deferred.cancel(name, "id")
                commit(backend, MAKE[kind](f"{prefix}{number:03}"))

        def read() -> None:
            try:
                for _ in range(10):
                    seen: set[str] = set()
                    cursor = None
                    while True:
                        page = backend.scan(kind, prefix=prefix, limit=9, cursor=cursor)
                        found = names(page.items)
                        assert len(set(found)) == len(found), "a record came twice in one page"
                        seen.update(found)
                        cursor = page.cursor
                        if cursor is None:
                            break
                    assert stay <= seen, f"missed {sorted(stay - seen)}"
            finally:
                stop.set()

        self.in_threads(write, read)

    @pytest.mark.parametrize("prefix_given", ["a\0b", "\ud800", "p" * 1025, None, b"p"])
    def test_scans_refuse_a_prefix_that_begins_no_key(
        self, storage: Storage, prefix_given: str
    ) -> None:
        """A prefix is as a key, but may be empty."""
        with pytest.raises(InvalidArgument):
            list(storage.values.scan(prefix_given))
        with pytest.raises(InvalidArgument):
            list(storage.sets.scan(prefix_given))
