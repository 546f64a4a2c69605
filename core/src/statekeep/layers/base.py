"""A layer that changes nothing; the others override what they change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from statekeep.backend import Backend, BackendStats, Capabilities, Target
from statekeep.findings import Finding
from statekeep.model import (
    DeferredMessage,
    Entry,
    Outcome,
    Page,
    Record,
    RecordKind,
    Transaction,
)
from statekeep.usage import Usage


class Layer(Backend):
    """Hands every call to the backend inside.

    Attributes:
        inner: the backend that this one wraps.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    @property
    def capabilities(self) -> Capabilities:
        """Those of the backend inside."""
        return self.inner.capabilities

    @property
    def target(self) -> Target:
        """That of the backend inside."""
        return self.inner.target

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        return self.inner.get_many(keys)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        return self.inner.members_many(keys)

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        return self.inner.members(key, limit=limit, cursor=cursor)

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        return self.inner.contains(key, members)

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        return self.inner.claim(queue, limit=limit, lease=lease)

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        return self.inner.messages_many(names)

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        return self.inner.scan(kind, prefix=prefix, limit=limit, cursor=cursor)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        return self.inner.commit(transactions)

    def missing(self) -> Sequence[str]:
        """See `Backend.missing`."""
        return self.inner.missing()

    def setup(self) -> None:
        """See `Backend.setup`."""
        self.inner.setup()

    def ping(self) -> None:
        """See `Backend.ping`."""
        self.inner.ping()

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return self.inner.usage()

    def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        return self.inner.stats()

    def examine(self) -> Iterable[Finding]:
        """See `Backend.examine`."""
        return self.inner.examine()

    def purge(self) -> int:
        """See `Backend.purge`."""
        return self.inner.purge()

    def close(self) -> None:
        """See `Backend.close`."""
        self.inner.close()


def innermost(backend: Backend) -> Backend:
    """The backend below all layers."""
    while isinstance(backend, Layer):
        backend = backend.inner
    return backend
