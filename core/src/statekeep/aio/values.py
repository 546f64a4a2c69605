"""`storage.values`, awaitable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from inspect import isawaitable

from statekeep import validate
from statekeep.aio.session import AsyncSession
from statekeep.aio.twins import twin_of
from statekeep.errors import VersionConflict
from statekeep.model import Delete, Entry, KeyValueRecord, Put, RecordKind
from statekeep.values import UPDATE_ATTEMPTS, KeyValues, Update


@twin_of(KeyValues)
class AsyncKeyValues:
    """Values by key, each with a version that no other write of the key ever has."""

    __slots__ = ("_session",)

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: str) -> Entry | None:
        """See `KeyValues.get`."""
        keys = (validate.key(key),)
        found = self._session.peek(keys)
        if found is None:
            found = await self._session.read(keys)
        return found.get(key)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Entry]:
        """See `KeyValues.get_many`."""
        several = validate.keys(keys)
        found = self._session.peek(several)
        if found is None:
            found = await self._session.read(several)
        return {key: found[key] for key in several if key in found}

    async def put(
        self,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        ttl: timedelta | None = None,
    ) -> int:
        """See `KeyValues.put`."""
        return (await self._session.commit((Put(key, value, expected, ttl),))).versions[key]

    async def put_many(self, mapping: Mapping[str, bytes]) -> dict[str, int]:
        """See `KeyValues.put_many`."""
        return dict((await self._session.commit(Put(*item) for item in mapping.items())).versions)

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """See `KeyValues.delete`."""
        return key in (await self._session.commit((Delete(key, expected),))).deleted

    async def update(
        self,
        key: str,
        function: Callable[[bytes | None], bytes | Awaitable[bytes | None] | None],
        *,
        ttl: timedelta | None = None,
        attempts: int = UPDATE_ATTEMPTS,
    ) -> Entry | None:
        """See `KeyValues.update`."""
        update = Update(key, ttl, attempts, self._session.recorder)
        while True:
            seen = await self.get(key)
            changed = function(None if seen is None else seen.value)
            if isawaitable(changed):
                changed = await changed
            try:
                done = await self._session.commit(update.writes(seen, changed))
                return update.entry(changed, done)
            except VersionConflict as conflict:
                pause = update.pause(conflict)
            await asyncio.sleep(pause)

    async def scan(self, prefix: str = "") -> AsyncIterator[tuple[str, Entry]]:
        """See `KeyValues.scan`."""
        async for record in self._session.scan(RecordKind.KEY_VALUE, validate.prefix(prefix)):
            assert isinstance(record, KeyValueRecord)
            yield record.key, record.entry
