"""The errors that statekeep raises. A driver's own exception is never raised, it is the cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class StorageError(Exception):
    """The root of every error that statekeep raises."""


class ConfigError(StorageError):
    """The configuration cannot be used; nothing was opened.

    Attributes:
        problems: every problem found, each naming the option and its source.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.problems,))


class PluginError(StorageError):
    """A plugin is missing, broken, or collides with another one."""


class InvalidArgument(StorageError, ValueError):
    """An argument breaks the contract; nothing was sent to the store."""


class Closed(StorageError):
    """The storage was used after `close()`; nothing was sent."""


class Unsupported(StorageError):
    """The chosen backend cannot do this; nothing was sent. Ask `capabilities` beforehand."""


class AccessDenied(StorageError):
    """The store refused the credentials or a permission; nothing was applied."""


class Unavailable(StorageError):
    """The store cannot be reached or is busy; nothing was applied, a retry is safe."""


class PoolTimeout(Unavailable):
    """No connection became free in time; nothing was sent."""


class OutcomeUnknown(StorageError):
    """A write was sent and its answer was lost: it may or may not have been applied.

    Read the versions again before deciding; a conditional write is safe to repeat.
    """


class CorruptValue(StorageError):
    """Stored bytes cannot be decoded, or are not those that were written under this key."""


class VersionConflict(StorageError):
    """A condition did not hold; nothing of the transaction was applied.

    Attributes:
        current: every conflicting key with its current version (0: absent).
        lost: `(queue, id)` of every message whose lease was lost besides.
    """

    def __init__(self, current: Mapping[str, int], lost: Iterable[tuple[str, str]] = ()) -> None:
        self.current = dict(current)
        self.lost = tuple(lost)
        found = ", ".join(
            f"{key!r} is at version {version}" if version else f"{key!r} is absent"
            for key, version in self.current.items()
        )
        also = f"; leases lost besides: {_names(self.lost)}" if self.lost else ""
        super().__init__(f"nothing was written: {found}{also}; read again and decide anew")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.current, self.lost))


class LeaseLost(StorageError):
    """A message was claimed by another, moved, cancelled or acknowledged; nothing was applied.

    Attributes:
        lost: `(queue, id)` of every message whose token is stale.
    """

    def __init__(self, lost: Iterable[tuple[str, str]]) -> None:
        self.lost = tuple(lost)
        super().__init__(
            f"nothing was written: the lease on {_names(self.lost)} is not held any more; "
            "stop working on it, another worker may have it"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.lost,))


def _names(messages: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{queue!r}/{id!r}" for queue, id in messages)
