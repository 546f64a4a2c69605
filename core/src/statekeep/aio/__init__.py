"""statekeep for asyncio: the same surface, awaitable, over every backend.

    async with aio.open("statekeep.toml") as storage:
        version = await storage.values.put("order/42", b"paid", expected=0)

Calls of concurrent tasks that meet while the store is busy travel together: see `docs/asyncio.md`.
"""

from statekeep.aio.deferred import AsyncDeferred
from statekeep.aio.opening import Opening, open
from statekeep.aio.session import may_have_happened
from statekeep.aio.sets import AsyncKeySets
from statekeep.aio.storage import AsyncStorage
from statekeep.aio.unit import AsyncUnitOfWork
from statekeep.aio.values import AsyncKeyValues

__all__ = [
    "AsyncDeferred",
    "AsyncKeySets",
    "AsyncKeyValues",
    "AsyncStorage",
    "AsyncUnitOfWork",
    "Opening",
    "may_have_happened",
    "open",
]
