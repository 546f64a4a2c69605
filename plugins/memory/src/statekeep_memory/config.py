"""The options of the memory backend and of the memory cache."""

from __future__ import annotations

from attrs import frozen
from statekeep.options import OptionError, option, positive


@frozen(kw_only=True)
class MemoryConfig:
    """Nothing to choose: everything is gone when the process ends."""


@frozen(kw_only=True)
class MemoryCacheConfig:
    """A cache in this process. Without a maximum size there is no cache."""

    maximum_size: int | None = option(
        None, "entries to keep at most; nothing is cached without it", positive
    )
    maximum_bytes: int | None = option(
        None, "bytes of values to keep at most; no bound without it", positive
    )
    expire_after_access: float | None = option(
        None,
        "seconds after the last access until an entry is dropped; never without it",
        positive,
        aliases=("expire_after_access_seconds",),
    )
    expire_after_write: float | None = option(
        None,
        "seconds after it was filled until an entry is dropped; never without it",
        positive,
        aliases=("expire_after_write_seconds",),
    )

    def __attrs_post_init__(self) -> None:
        if self.maximum_bytes is not None and self.maximum_size is None:
            raise OptionError("maximum_bytes", "maximum_bytes needs a maximum_size beside it")
