"""`storage.sets`, awaitable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

from statekeep import validate
from statekeep.aio.session import AsyncSession
from statekeep.aio.twins import twin_of
from statekeep.model import KeySetRecord, Page, RecordKind
from statekeep.session import PAGE
from statekeep.sets import KeySets, changes


@twin_of(KeySets)
class AsyncKeySets:
    """Sets of bytes by key. A set without members does not exist."""

    __slots__ = ("_session",)

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def members(self, key: str) -> frozenset[bytes]:
        """See `KeySets.members`."""
        return (await self.members_many((key,)))[key]

    async def members_many(self, keys: Iterable[str]) -> dict[str, frozenset[bytes]]:
        """See `KeySets.members_many`."""
        several = validate.keys(keys)
        found = self._session.peek_members(several)
        if found is None:
            found = await self._session.read_members(several)
        return {key: found[key] for key in several}

    async def pages(self, key: str, limit: int = PAGE) -> AsyncIterator[Page[bytes]]:
        """See `KeySets.pages`."""
        page = await self.page(key, limit=limit)
        yield page
        while page.cursor is not None:
            page = await self.page(key, limit=limit, cursor=page.cursor)
            yield page

    async def page(self, key: str, *, limit: int, cursor: str | None = None) -> Page[bytes]:
        """See `KeySets.page`."""
        return await self._session.call(
            self._session.backend.members,
            validate.key(key),
            limit=validate.limit(limit),
            cursor=cursor,
        )

    async def contains(self, key: str, member: bytes) -> bool:
        """See `KeySets.contains`."""
        asked = (validate.member(member),)
        return bool(
            await self._session.call(self._session.backend.contains, validate.key(key), asked)
        )

    async def add(self, key: str, *members: bytes) -> None:
        """See `KeySets.add`."""
        await self.update(add={key: members})

    async def remove(self, key: str, *members: bytes) -> None:
        """See `KeySets.remove`."""
        await self.update(remove={key: members})

    async def update(
        self,
        add: Mapping[str, Iterable[bytes]] | None = None,
        remove: Mapping[str, Iterable[bytes]] | None = None,
    ) -> None:
        """See `KeySets.update`."""
        await self._session.commit(changes(add, remove))

    async def scan(self, prefix: str = "") -> AsyncIterator[str]:
        """See `KeySets.scan`."""
        async for record in self._session.scan(RecordKind.KEY_SET, validate.prefix(prefix)):
            assert isinstance(record, KeySetRecord)
            yield record.key
