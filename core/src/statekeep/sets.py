"""`storage.sets`: key-sets, such as the ids behind a tag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from statekeep import validate
from statekeep.model import Add, KeySetRecord, Operation, Page, RecordKind, Remove
from statekeep.session import PAGE, Session


class KeySets:
    """Sets of bytes by key. A set without members does not exist."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def members(self, key: str) -> frozenset[bytes]:
        """All members; empty where there is no such set. Use `pages` for very large sets."""
        return self._session.backend.members_many((validate.key(key),))[key]

    def members_many(self, keys: Iterable[str]) -> dict[str, frozenset[bytes]]:
        """All members of several sets; every key asked for is in the answer."""
        return self._session.backend.members_many(validate.keys(keys))

    def pages(self, key: str, limit: int = PAGE) -> Iterator[Page[bytes]]:
        """All members, page by page, in constant memory."""
        page = self.page(key, limit=limit)
        yield page
        while page.cursor is not None:
            page = self.page(key, limit=limit, cursor=page.cursor)
            yield page

    def page(self, key: str, *, limit: int, cursor: str | None = None) -> Page[bytes]:
        """One page of members.

        Args:
            key: the set's key.
            limit: at most this many members, 1 to 10000.
            cursor: that of the page before, None for the first one.

        Raises:
            InvalidArgument: the cursor is not one of this set.
        """
        return self._session.backend.members(
            validate.key(key), limit=validate.limit(limit), cursor=cursor
        )

    def contains(self, key: str, member: bytes) -> bool:
        """Whether the set holds this member."""
        return bool(self._session.backend.contains(validate.key(key), (validate.member(member),)))

    def add(self, key: str, *members: bytes) -> None:
        """Adds members; those that are there stay."""
        self.update(add={key: members})

    def remove(self, key: str, *members: bytes) -> None:
        """Removes members; no error for those that are not there."""
        self.update(remove={key: members})

    def update(
        self,
        add: Mapping[str, Iterable[bytes]] | None = None,
        remove: Mapping[str, Iterable[bytes]] | None = None,
    ) -> None:
        """Changes any number of sets, all or nothing: removals first, then additions."""
        self._session.commit(changes(add, remove))

    def scan(self, prefix: str = "") -> Iterator[str]:
        """The keys of all sets that begin with `prefix`, in constant memory."""
        for record in self._session.scan(RecordKind.KEY_SET, validate.prefix(prefix)):
            assert isinstance(record, KeySetRecord)
            yield record.key


def changes(
    add: Mapping[str, Iterable[bytes]] | None, remove: Mapping[str, Iterable[bytes]] | None
) -> list[Operation]:
    """Removals, then additions; those of no members left out."""
    removals = [Remove(*item) for item in (remove or {}).items()]
    additions = [Add(*item) for item in (add or {}).items()]
    found: list[Operation] = [each for each in removals if each.members]
    return found + [each for each in additions if each.members]
