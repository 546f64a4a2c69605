"""`storage.transaction()` as an `async with` block: the same collecting, committed awaitably."""

from __future__ import annotations

from types import TracebackType

from statekeep.aio.session import AsyncSession
from statekeep.unit import Collected


class AsyncUnitOfWork(Collected):
    """Collects operations and commits them together: all are applied, or none.

    Nothing is sent before the end of the block; an exception inside it sends nothing at all.
    """

    _block = "async with storage.transaction() as tx: ..."

    def __init__(self, session: AsyncSession) -> None:
        super().__init__()
        self._session = session

    async def __aenter__(self) -> AsyncUnitOfWork:
        self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done = True
        if error is None:
            self._committed(await self._session.commit(self._operations))
