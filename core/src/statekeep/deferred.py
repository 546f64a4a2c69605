"""`storage.deferred`: messages that are delivered later, such as timers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from statekeep import validate
from statekeep.model import (
    Acknowledge,
    Cancel,
    DeferredMessage,
    Extend,
    RecordKind,
    Release,
    Schedule,
)
from statekeep.session import Session

LEASE = timedelta(seconds=30)
"""How long a claim holds unless told otherwise."""


class Deferred:
    """Queues of messages, each delivered at least once, when it is due."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def schedule(
        self, queue: str, id: str, *, due: datetime | timedelta, payload: bytes = b""
    ) -> None:
        """Puts a message in a queue, or moves the one with this id and replaces its payload.

        A message that is claimed is taken from its holder: its token is stale from then on.

        Args:
            queue: the queue's name, as a key.
            id: unique within the queue, as a key.
            due: an aware datetime, or a timedelta counting from the server's now.
            payload: at most `capabilities.max_value_bytes`.
        """
        self._session.commit((Schedule(queue, id, due, payload),))

    def cancel(self, queue: str, id: str) -> bool:
        """Removes a message, claimed or not; returns whether it was there."""
        return (queue, id) in self._session.commit((Cancel(queue, id),)).cancelled

    def claim(
        self, queue: str, *, limit: int = 1, lease: timedelta = LEASE
    ) -> list[DeferredMessage]:
        """Takes messages that are due, earliest first, and hides them for the lease.

        A message that is neither acknowledged nor released by the end of the lease is handed out
        again, with another token. One that came back takes its place by the time it did.

        Args:
            queue: the queue's name.
            limit: at most this many, 1 to 10000.
            lease: how long nobody else gets them.

        Returns:
            The messages; empty where none is due.
        """
        return self._session.backend.claim(
            validate.key(queue, "queue"),
            limit=validate.limit(limit, validate.MAX_CLAIM),
            lease=validate.duration(lease, "lease"),
        )

    def acknowledge(self, message: DeferredMessage) -> None:
        """Removes a claimed message.

        Raises:
            LeaseLost: the message was handed to another since, moved or cancelled.
        """
        self._session.commit((Acknowledge(*message.name, message.token),))

    def release(self, message: DeferredMessage, *, delay: timedelta = timedelta(0)) -> None:
        """Gives a claimed message back, to be claimed again after `delay`.

        Raises:
            LeaseLost: the message was handed to another since, moved or cancelled.
        """
        self._session.commit((Release(*message.name, message.token, delay),))

    def extend(self, message: DeferredMessage, lease: timedelta) -> None:
        """Prolongs a claim: it now ends `lease` from now.

        Raises:
            LeaseLost: the message was handed to another since, moved or cancelled.
        """
        self._session.commit((Extend(*message.name, message.token, lease=lease),))

    def scan(self, queue: str) -> Iterator[DeferredMessage]:
        """All messages of a queue, due or not, claimed or not, in constant memory."""
        prefix = validate.key(queue, "queue") + "\0"
        for record in self._session.scan(RecordKind.DEFERRED, prefix):
            assert isinstance(record, DeferredMessage)
            yield record
