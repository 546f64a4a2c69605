"""Key-sets: binary members, each once, and no set without members."""

from __future__ import annotations

from typing import Any

import pytest

from statekeep.errors import InvalidArgument
from statekeep.model import Add
from statekeep.storage import Storage
from statekeep.testing.support import Kit, commit

LOOK_ALIKES = (
    b"m", b"M", b"m ", b" m", b"m\0", b"\0m", b"\0", b"\0\0", b" ", b"\xff", b"\xff\xff", b"\xfe",
    b"m\n", b"\x1f\x8b\x08", b"\xd5\x4b", b"\xc3\xa9", b"e\xcc\x81", b"\xe9", b"null", b"0", b"00",
    b"'", b"\\", b"%", b"_", b"*",
)  # fmt: skip

REFUSED: dict[str, Any] = {
    "empty": b"",
    "too_long": b"m" * 1025,
    "str": "member",
    "none": None,
    "bytearray": bytearray(b"m"),
}


class SetsTests(Kit):
    """Sections 2 and 3.1 of the design, for key-sets."""

    def test_sets_hold_what_was_added(self, storage: Storage, prefix: str) -> None:
        """Members come together over several additions, each once."""
        key = prefix + "set"
        storage.sets.add(key, b"a", b"b", b"a")
        storage.sets.add(key, b"b", b"c")
        assert storage.sets.members(key) == {b"a", b"b", b"c"}
        assert sorted(m for page in storage.sets.pages(key) for m in page.items) == [
            b"a",
            b"b",
            b"c",
        ]

    def test_sets_lose_what_was_removed(self, storage: Storage, prefix: str) -> None:
        """Removing takes those members and no other; what is not there is no error."""
        key = prefix + "set"
        storage.sets.remove(key, b"nothing")
        assert storage.sets.members(key) == frozenset()
        storage.sets.add(key, b"a", b"b", b"c")
        storage.sets.remove(key, b"a", b"missing", b"c")
        assert storage.sets.members(key) == {b"b"}
        storage.sets.remove(key, b"a")
        assert storage.sets.members(key) == {b"b"}

    def test_sets_without_members_are_gone(self, storage: Storage, prefix: str) -> None:
        """With its last member a set is neither listed nor in the way."""
        key = prefix + "set"
        storage.sets.add(key, b"a", b"b")
        storage.sets.remove(key, b"a", b"b")
        assert storage.sets.members(key) == frozenset()
        assert list(storage.sets.scan(prefix)) == []
        assert [page.items for page in storage.sets.pages(key)] == [()]
        storage.sets.add(key, b"c")
        assert storage.sets.members(key) == {b"c"}

    def test_sets_are_not_made_by_adding_nothing(self, storage: Storage, prefix: str) -> None:
        """An addition without members makes no set."""
        storage.sets.add(prefix + "a")
        with storage.transaction() as tx:
            tx.add(prefix + "b")
            tx.remove(prefix + "c")
        commit(storage.backend, Add(prefix + "d", ()))
        assert list(storage.sets.scan(prefix)) == []

    def test_sets_contain_their_members(self, storage: Storage, prefix: str) -> None:
        """contains() is true of members of this set alone."""
        storage.sets.add(prefix + "a", b"here")
        storage.sets.add(prefix + "b", b"there")
        assert storage.sets.contains(prefix + "a", b"here") is True
        assert storage.sets.contains(prefix + "a", b"there") is False
        assert storage.sets.contains(prefix + "a", b"her") is False
        storage.sets.remove(prefix + "a", b"here")
        assert storage.sets.contains(prefix + "a", b"here") is False

    def test_sets_keep_members_that_look_alike(self, storage: Storage, prefix: str) -> None:
        """Members are compared byte by byte: case, blanks, NUL and 0xFF count."""
        key = prefix + "set"
        storage.sets.add(key, *LOOK_ALIKES)
        assert storage.sets.members(key) == set(LOOK_ALIKES)
        for member in LOOK_ALIKES:
            storage.sets.remove(key, member)
            assert storage.sets.contains(key, member) is False
        assert list(storage.sets.scan(prefix)) == []

    def test_sets_keep_every_byte(self, storage: Storage, prefix: str) -> None:
        """All members of one byte, alone and in pairs, are members of their own."""
        key = prefix + "set"
        members = {bytes([n]) for n in range(256)} | {bytes([n, 255 - n]) for n in range(256)}
        storage.sets.add(key, *members)
        assert storage.sets.members(key) == members
        seen = [member for page in storage.sets.pages(key, 7) for member in page.items]
        assert len(seen) == len(members) and set(seen) == members

    def test_sets_keep_members_of_1024_bytes(self, storage: Storage, prefix: str) -> None:
        """The longest members differ by their last byte, and page like any other."""
        key = prefix + "set"
        members = {b"\xff" * 1023 + bytes([n]) for n in range(256)}
        storage.sets.add(key, *members)
        assert storage.sets.members(key) == members
        seen = [member for page in storage.sets.pages(key, 50) for member in page.items]
        assert len(seen) == 256 and set(seen) == members

    @pytest.mark.parametrize("name", REFUSED)
    def test_sets_refuse_what_is_no_member(self, storage: Storage, prefix: str, name: str) -> None:
        """Empty, over 1024 bytes, no bytes: InvalidArgument, and nothing is added."""
        key, member = prefix + "set", REFUSED[name]
        with pytest.raises(InvalidArgument):
            storage.sets.add(key, b"fine", member)
        with pytest.raises(InvalidArgument):
            storage.sets.remove(key, member)
        with pytest.raises(InvalidArgument):
            storage.sets.contains(key, member)
        assert storage.sets.members(key) == frozenset()

    def test_sets_update_removes_before_it_adds(self, storage: Storage, prefix: str) -> None:
        """A member both removed and added is in the set afterwards."""
        a, b = prefix + "a", prefix + "b"
        storage.sets.add(a, b"1", b"2")
        storage.sets.update(add={a: [b"1", b"3"], b: [b"1"]}, remove={a: [b"1", b"2"]})
        assert storage.sets.members_many([a, b]) == {a: {b"1", b"3"}, b: {b"1"}}

    def test_sets_share_members_but_nothing_else(self, storage: Storage, prefix: str) -> None:
        """Changing one set leaves another with the same members alone."""
        keys = [prefix + name for name in ("a", "a/", "a/b")]
        for key in keys:
            storage.sets.add(key, b"1", b"2")
        storage.sets.remove(keys[0], b"1", b"2")
        assert storage.sets.members_many(keys) == {
            keys[0]: frozenset(),
            keys[1]: {b"1", b"2"},
            keys[2]: {b"1", b"2"},
        }
