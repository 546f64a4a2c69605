"""Reads of several keys: complete, and one snapshot where that is declared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from statekeep.backend import Backend
from statekeep.storage import Storage
from statekeep.testing.support import Kit

KEYS = 6
SECONDS = 0.4


class ReadsTests(Kit):
    """Sections 3.5 and 3.6 of the contract."""

    def test_reads_of_nothing_are_empty(self, backend: Backend) -> None:
        """No keys asked for, none answered; no transactions given, no outcomes."""
        assert backend.get_many(()) == {}
        assert backend.members_many(()) == {}
        assert backend.contains("any", ()) == frozenset()
        assert backend.commit(()) == []

    def test_reads_leave_absent_values_out(self, storage: Storage, prefix: str) -> None:
        """get_many answers what is there, once each, however often it was asked for."""
        storage.values.put_many({prefix + "a": b"1", prefix + "b": b""})
        found = storage.values.get_many([prefix + name for name in ("x", "b", "a", "b", "y")])
        assert {key: entry.value for key, entry in found.items()} == {
            prefix + "a": b"1",
            prefix + "b": b"",
        }

    def test_reads_of_sets_answer_every_key(self, storage: Storage, prefix: str) -> None:
        """members_many has an empty set for a key without members."""
        storage.sets.add(prefix + "a", b"1", b"2")
        assert storage.sets.members_many([prefix + "a", prefix + "x", prefix + "a"]) == {
            prefix + "a": {b"1", b"2"},
            prefix + "x": frozenset(),
        }

    def test_reads_peek_knows_or_says_nothing(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """Peek and peek_members answer what the reads would, or None, before and after a write."""
        keys = [prefix + "a", prefix + "b"]
        for value in (b"1", b"2"):
            storage.values.put(keys[0], value)
            storage.sets.add(keys[0], value)
            for _ in range(2):
                assert backend.peek(keys) in (None, backend.get_many(keys))
                assert backend.peek_members(keys) in (None, backend.members_many(keys))

    def test_reads_of_thousands_of_keys(self, storage: Storage, prefix: str) -> None:
        """More keys in one call than a statement may have parameters (999 in old SQLite)."""
        keys = [f"{prefix}{number}" for number in range(2500)]
        written = storage.values.put_many({key: key.encode() for key in keys[:2000]})
        found = storage.values.get_many(keys)
        assert {key: entry.version for key, entry in found.items()} == written
        assert all(entry.value == key.encode() for key, entry in found.items())
        assert storage.sets.members_many(keys) == {key: frozenset() for key in keys}

    def test_reads_contains_answers_those_that_are_there(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """Asked for many members at once, contains returns those of them in the set."""
        members = [b"%d" % number for number in range(1500)]
        storage.sets.add(prefix + "set", *members[::2])
        assert backend.contains(prefix + "set", members) == set(members[::2])
        assert storage.sets.contains(prefix + "set", b"2") is True
        assert storage.sets.contains(prefix + "set", b"3") is False
        assert storage.sets.contains(prefix + "none", b"2") is False

    def test_reads_of_values_are_one_snapshot(self, storage: Storage, prefix: str) -> None:
        """While transactions rewrite several values, get_many never shows two of them mixed."""
        if not storage.capabilities.snapshot_reads:
            pytest.skip("snapshot_reads is not declared")
        keys = [f"{prefix}{number}" for number in range(KEYS)]

        def write(number: int) -> None:
            storage.values.put_many(dict.fromkeys(keys, b"%d" % number))

        def read() -> set[bytes]:
            found = storage.values.get_many(keys)
            assert len(found) == KEYS, "part of a transaction was seen"
            return {entry.value for entry in found.values()}

        self._contend(write, read)

    def test_reads_of_sets_are_one_snapshot(self, storage: Storage, prefix: str) -> None:
        """While transactions move a member through several sets, members_many shows one state."""
        if not storage.capabilities.snapshot_reads:
            pytest.skip("snapshot_reads is not declared")
        keys = [f"{prefix}{number}" for number in range(KEYS)]

        def write(number: int) -> None:
            storage.sets.update(
                remove={key: [b"%d" % (number - 1)] for key in keys},
                add={key: [b"%d" % number] for key in keys},
            )

        def read() -> set[bytes]:
            found = storage.sets.members_many(keys)
            assert {len(members) for members in found.values()} == {1}, "a part was seen"
            return {member for members in found.values() for member in members}

        self._contend(write, read)

    def _contend(self, write: Callable[[int], None], read: Callable[[], set[bytes]]) -> None:
        write(0)
        stop = threading.Event()
        end = time.monotonic() + SECONDS

        def writer() -> int:
            number = 0
            while not stop.is_set():
                number += 1
                write(number)
            return number

        def reader() -> int:
            reads = 0
            try:
                while time.monotonic() < end or reads < 20:
                    seen = read()
                    assert len(seen) == 1, f"one read saw several transactions: {seen}"
                    reads += 1
                return reads
            finally:
                stop.set()

        written, read_once, read_twice = self.in_threads(writer, reader, reader)
        assert written > 0 and read_once > 0 and read_twice > 0
