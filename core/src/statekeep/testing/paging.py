"""Paging through the members of a set: everything, in constant memory, while it changes."""

from __future__ import annotations

import pytest

from statekeep.errors import InvalidArgument
from statekeep.storage import Storage
from statekeep.testing.support import Kit, heavy

MANY = 100_000
CHUNK = 5_000


def numbered(count: int) -> list[bytes]:
    """Distinct members in an order that is not theirs."""
    return [b"%08d" % (number * 7919 % 100_000_007) for number in range(count)]


def read_pages(storage: Storage, key: str, limit: int) -> list[bytes]:
    """All members by pages, with what each page must keep."""
    seen: list[bytes] = []
    for page in storage.sets.pages(key, limit):
        assert len(page.items) <= limit, "a page holds more than was asked for"
        assert len(set(page.items)) == len(page.items), "a member came twice in one page"
        seen.extend(page.items)
    return seen


class PagingTests(Kit):
    """Section 3.9 of the contract, for sets."""

    @pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 21])
    def test_paging_ends_at_every_boundary(self, storage: Storage, prefix: str, count: int) -> None:
        """Pages of ten hold every member, whether or not the last page is full."""
        members = numbered(count)
        storage.sets.add(prefix + "set", *members)
        assert sorted(read_pages(storage, prefix + "set", 10)) == sorted(members)

    def test_paging_one_by_one(self, storage: Storage, prefix: str) -> None:
        """Pages of one member each come to an end with all of them."""
        members = numbered(30)
        storage.sets.add(prefix + "set", *members)
        assert sorted(read_pages(storage, prefix + "set", 1)) == sorted(members)

    def test_paging_starts_over_without_a_cursor(self, storage: Storage, prefix: str) -> None:
        """The same first page twice, and the cursor of a page works more than once."""
        key = prefix + "set"
        storage.sets.add(key, *numbered(100))
        first = storage.sets.page(key, limit=10)
        assert storage.sets.page(key, limit=10) == first and first.cursor is not None
        second = storage.sets.page(key, limit=10, cursor=first.cursor)
        assert storage.sets.page(key, limit=10, cursor=first.cursor) == second
        assert not set(first.items) & set(second.items)

    def test_paging_survives_removal_of_what_was_seen(self, storage: Storage, prefix: str) -> None:
        """Working a set off page by page meets every member: nothing is skipped."""
        key, members = prefix + "set", numbered(200)
        seen: set[bytes] = set()
        storage.sets.add(key, *members)
        for page in storage.sets.pages(key, 10):
            seen.update(page.items)
            storage.sets.remove(key, *page.items)
        assert seen == set(members)
        assert storage.sets.members(key) == frozenset()

    def test_paging_survives_removal_of_the_cursors_member(
        self, storage: Storage, prefix: str
    ) -> None:
        """A cursor goes on where it was, although the members around it are gone."""
        key, members = prefix + "set", numbered(100)
        storage.sets.add(key, *members)
        first = storage.sets.page(key, limit=10)
        second = storage.sets.page(key, limit=10, cursor=first.cursor)
        storage.sets.remove(key, *first.items, *second.items[5:])
        cursor = first.cursor
        rest: set[bytes] = set()
        while cursor is not None:
            page = storage.sets.page(key, limit=10, cursor=cursor)
            rest.update(page.items)
            cursor = page.cursor
        assert set(members) - set(first.items) - set(second.items[5:]) <= rest

    def test_paging_survives_additions(self, storage: Storage, prefix: str) -> None:
        """While others add, members that were there all along are seen, none twice in a page."""
        key = prefix + "set"
        members = [b"b%04d" % number for number in range(200)]
        storage.sets.add(key, *members)
        seen: set[bytes] = set()
        for number, page in enumerate(storage.sets.pages(key, 10)):
            assert len(set(page.items)) == len(page.items)
            seen.update(page.items)
            if number < 100:  # additions behind the cursor prolong the paging; not for ever
                storage.sets.add(key, b"a%04d" % number, b"c%04d" % number)
        assert set(members) <= seen

    def test_paging_after_the_set_is_gone(self, storage: Storage, prefix: str) -> None:
        """A set removed between two pages ends the paging; it is no error."""
        key, members = prefix + "set", numbered(30)
        storage.sets.add(key, *members)
        page = storage.sets.page(key, limit=10)
        storage.sets.remove(key, *members)
        rest = storage.sets.page(key, limit=10, cursor=page.cursor)
        assert rest.items == () and rest.cursor is None

    @pytest.mark.parametrize("limit", [0, -1, 10_001, True, 1.5, "10", None])
    def test_paging_refuses_a_limit_that_makes_no_sense(
        self, storage: Storage, prefix: str, limit: int
    ) -> None:
        """A page holds 1 to 10000 members."""
        with pytest.raises(InvalidArgument):
            storage.sets.page(prefix + "set", limit=limit)

    @heavy
    def test_paging_a_set_of_100_000_members(self, storage: Storage, prefix: str) -> None:
        """A tag of a hundred thousand ids fills, counts, pages and empties."""
        key, members = prefix + "set", numbered(MANY)
        assert len(set(members)) == MANY
        for start in range(0, MANY, CHUNK):
            storage.sets.add(key, *members[start : start + CHUNK])
        seen = read_pages(storage, key, 10_000)
        assert len(seen) == MANY and set(seen) == set(members)
        assert storage.sets.contains(key, members[-1])
        first = storage.sets.page(key, limit=3)
        assert len(first.items) <= 3 and first.cursor is not None
        for start in range(0, MANY, CHUNK):
            storage.sets.remove(key, *members[start : start + CHUNK])
        assert list(storage.sets.scan(prefix)) == []
