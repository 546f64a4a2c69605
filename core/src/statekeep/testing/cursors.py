"""Cursors: short, opaque, bound to their scan; a wrong one is an error and never a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from statekeep.backend import Backend
from statekeep.errors import InvalidArgument
from statekeep.model import Add, Page, Put, RecordKind, Schedule
from statekeep.storage import Storage
from statekeep.testing.keys import padded
from statekeep.testing.support import HOUR, Kit, commit

GARBAGE: dict[str, Any] = {
    "empty": "",
    "word": "cursor",
    "zero": "0",
    "number": "10",
    "negative": "-1",
    "base64": "AAAAAAAA",
    "json": '{"offset": 10}',
    "unicode": "é",
    "nul": "\0",
    "blank": " ",
    "long": "A" * 10_000,
    "int": 10,
    "bytes": b"AAAAAAAA",
}

SHORT_ENOUGH = 2048
"""A position is a name or member of at most 2049 bytes; paging through one set needs 1024."""


def changes(cursor: str) -> Iterator[str]:
    """The cursor cut short, grown, and with each character replaced."""
    yield from (cursor[:-1], cursor[:-4], cursor[4:], cursor[:4], cursor + cursor, cursor + "A")
    for place, old in enumerate(cursor):
        new = "B" if old == "A" else "A"
        yield cursor[:place] + new + cursor[place + 1 :]


class CursorsTests(Kit):
    """Section 3.9 of the contract."""

    @pytest.fixture
    def filled(self, backend: Backend, prefix: str) -> Backend:
        """Twenty records of each kind, and two sets of twenty members."""
        members = tuple(b"%02d" % number for number in range(20))
        commit(
            backend,
            *(Put(f"{prefix}{number:02}", b"") for number in range(20)),
            *(Add(f"{prefix}{number:02}", members) for number in range(20)),
            *(Schedule(f"{prefix}{number:02}", "id", HOUR) for number in range(20)),
        )
        return backend

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_cursors_of_members_refuse_garbage(
        self, filled: Backend, prefix: str, garbage: str
    ) -> None:
        """What is no cursor is InvalidArgument, for a set that is there and one that is not."""
        for key in (prefix + "00", prefix + "absent"):
            with pytest.raises(InvalidArgument):
                Storage(filled).sets.page(key, limit=5, cursor=GARBAGE[garbage])

    @pytest.mark.parametrize("kind", list(RecordKind), ids=lambda kind: kind.value)
    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_cursors_of_scans_refuse_garbage(
        self, filled: Backend, prefix: str, kind: RecordKind, garbage: str
    ) -> None:
        """What is no cursor is InvalidArgument."""
        with pytest.raises(InvalidArgument):
            filled.scan(kind, prefix=prefix, limit=5, cursor=GARBAGE[garbage])

    def test_cursors_of_members_refuse_changes(self, filled: Backend, prefix: str) -> None:
        """A cursor cut or altered anywhere is refused, or still means the same place."""
        key = prefix + "00"
        page = filled.members(key, limit=5, cursor=None)
        assert page.cursor is not None
        wanted = filled.members(key, limit=5, cursor=page.cursor)
        for cursor in changes(page.cursor):
            try:
                assert filled.members(key, limit=5, cursor=cursor) == wanted, cursor
            except InvalidArgument:
                continue

    @pytest.mark.parametrize("kind", list(RecordKind), ids=lambda kind: kind.value)
    def test_cursors_of_scans_refuse_changes(
        self, filled: Backend, prefix: str, kind: RecordKind
    ) -> None:
        """A cursor cut or altered anywhere is refused, or still means the same place."""
        page = filled.scan(kind, prefix=prefix, limit=5, cursor=None)
        assert page.cursor is not None
        wanted = filled.scan(kind, prefix=prefix, limit=5, cursor=page.cursor)
        for cursor in changes(page.cursor):
            try:
                assert filled.scan(kind, prefix=prefix, limit=5, cursor=cursor) == wanted, cursor
            except InvalidArgument:
                continue

    def test_cursors_of_members_belong_to_their_set(self, filled: Backend, prefix: str) -> None:
        """The cursor of one set, or of a scan, is refused by another set."""
        cursor = filled.members(prefix + "00", limit=5, cursor=None).cursor
        foreign = filled.scan(RecordKind.KEY_SET, prefix=prefix, limit=5, cursor=None).cursor
        for wrong in (cursor, foreign):
            assert wrong is not None
            for key in (prefix + "01", prefix + "0", prefix + "absent"):
                with pytest.raises(InvalidArgument):
                    filled.members(key, limit=5, cursor=wrong)

    def test_cursors_of_scans_belong_to_their_scan(self, filled: Backend, prefix: str) -> None:
        """The cursor of one kind and prefix is refused by every other scan."""
        scans = [(kind, prefix + more) for kind in RecordKind for more in ("", "0", "1")]
        for kind, begin in scans:
            cursor = filled.scan(kind, prefix=begin, limit=3, cursor=None).cursor
            assert cursor is not None
            for other in scans:
                if other != (kind, begin):
                    with pytest.raises(InvalidArgument):
                        filled.scan(other[0], prefix=other[1], limit=3, cursor=cursor)
        members = filled.members(prefix + "00", limit=5, cursor=None).cursor
        with pytest.raises(InvalidArgument):
            filled.scan(RecordKind.KEY_SET, prefix=prefix, limit=5, cursor=members)

    def test_cursors_are_short(self, backend: Backend, prefix: str) -> None:
        """They hold a place and no more, even between the longest names and members."""
        keys = [padded(prefix + str(number), "k") for number in range(3)]
        members = tuple(bytes([65 + number]) * 1024 for number in range(3))
        commit(backend, *(Put(key, b"") for key in keys), Add(prefix + "set", members))
        pages: list[Page[Any]] = [
            backend.members(prefix + "set", limit=1, cursor=None),
            backend.scan(RecordKind.KEY_VALUE, prefix=prefix, limit=1, cursor=None),
        ]
        for page in pages:
            assert isinstance(page.cursor, str) and len(page.cursor) <= SHORT_ENOUGH

    def test_cursors_are_plain_text(self, filled: Backend, prefix: str) -> None:
        """A cursor may be kept anywhere that text is, and goes on from there."""
        page = filled.members(prefix + "00", limit=5, cursor=None)
        assert page.cursor is not None
        copy = page.cursor.encode().decode()
        rest = filled.members(prefix + "00", limit=100, cursor=copy)
        assert not set(page.items) & set(rest.items)
        assert len(page.items) + len(rest.items) == 20
