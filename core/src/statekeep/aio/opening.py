"""`statekeep.aio.open()`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

import statekeep
from statekeep.aio.session import in_thread
from statekeep.aio.storage import AsyncStorage
from statekeep.storage import Storage

if TYPE_CHECKING:
    from statekeep.config import StorageConfig


class Opening:
    """A storage to be opened: by `await`, or by `async with`, which closes it too."""

    def __init__(self, source: Any, overrides: dict[str, Any]) -> None:
        self._source = source
        self._overrides = overrides
        self._storage: AsyncStorage | None = None
        self._abandoned = False

    def __await__(self) -> Generator[Any, None, AsyncStorage]:
        return self._opened().__await__()

    async def __aenter__(self) -> AsyncStorage:
        self._storage = await self._opened()
        return self._storage

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._storage is not None:
            await self._storage.close()

    async def _opened(self) -> AsyncStorage:
        try:
            opened = await in_thread(self._composed)
            return AsyncStorage(opened.backend, opened.recorder)
        except asyncio.CancelledError:
            self._abandoned = True
            raise

    def _composed(self) -> Storage:
        """In a thread: connecting takes time."""
        storage = statekeep.open(self._source, **self._overrides)
        if self._abandoned:  # cancelled meanwhile: nobody would ever close it
            storage.close()
        return storage


def open(
    source: str | PathLike[str] | Mapping[str, Any] | StorageConfig | None = None,
    **overrides: Any,
) -> Opening:
    """Documented below, as `statekeep.open`."""
    return Opening(source, overrides)


open.__doc__ = statekeep.open.__doc__
