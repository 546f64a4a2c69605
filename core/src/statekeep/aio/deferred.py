"""`storage.deferred`, awaitable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from statekeep import validate
from statekeep.aio.session import AsyncSession
from statekeep.aio.twins import twin_of
from statekeep.deferred import LEASE, Deferred
from statekeep.model import (
    Acknowledge,
    Cancel,
    DeferredMessage,
    Extend,
    RecordKind,
    Release,
    Schedule,
)


@twin_of(Deferred)
class AsyncDeferred:
    """Queues of messages, each delivered at least once, when it is due."""

    __slots__ = ("_session",)

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def schedule(
        self, queue: str, id: str, *, due: datetime | timedelta, payload: bytes = b""
    ) -> None:
        """See `Deferred.schedule`."""
        await self._session.commit((Schedule(queue, id, due, payload),))

    async def cancel(self, queue: str, id: str) -> bool:
        """See `Deferred.cancel`."""
        return (queue, id) in (await self._session.commit((Cancel(queue, id),))).cancelled

    async def claim(
        self, queue: str, *, limit: int = 1, lease: timedelta = LEASE
    ) -> list[DeferredMessage]:
        """See `Deferred.claim`."""
        return await self._session.call(
            self._session.backend.claim,
            validate.key(queue, "queue"),
            limit=validate.limit(limit, validate.MAX_CLAIM),
            lease=validate.duration(lease, "lease"),
        )

    async def acknowledge(self, message: DeferredMessage) -> None:
        """See `Deferred.acknowledge`."""
        await self._session.commit((Acknowledge(*message.name, message.token),))

    async def release(self, message: DeferredMessage, *, delay: timedelta = timedelta(0)) -> None:
        """See `Deferred.release`."""
        await self._session.commit((Release(*message.name, message.token, delay),))

    async def extend(self, message: DeferredMessage, lease: timedelta) -> None:
        """See `Deferred.extend`."""
        await self._session.commit((Extend(*message.name, message.token, lease=lease),))

    async def scan(self, queue: str) -> AsyncIterator[DeferredMessage]:
        """See `Deferred.scan`."""
        prefix = validate.key(queue, "queue") + "\0"
        async for record in self._session.scan(RecordKind.DEFERRED, prefix):
            assert isinstance(record, DeferredMessage)
            yield record
