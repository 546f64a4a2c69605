"""What backends have in common that read the store of another program, and never write to it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta

from statekeep import cursors, validate
from statekeep.backend import Backend
from statekeep.errors import InvalidArgument, Unsupported
from statekeep.model import DeferredMessage, Outcome, Page, Record, RecordKind, Transaction

SHOWN = 80
"""Characters of a name that an error shows."""


class ForeignSource(Backend):
    """A store that another program writes: what it holds can be read, listed, counted and copied.

    A subclass reads. It hands out the values as the other program would read them, and its
    `BackendPlugin` says `envelopes=False`, so that nobody looks for an envelope around them.
    """

    @property
    @abstractmethod
    def where(self) -> str:
        """The other program's store, for messages."""

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """Refuses: a claim is a write."""
        raise self._refusal("a message cannot be claimed")

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """Refuses, unless there is nothing to commit."""
        if transactions:
            raise self._refusal("nothing was written")
        return []

    def purge(self) -> int:
        """Refuses: removing is the other program's affair."""
        raise self._refusal("nothing was removed")

    def no_messages(self, prefix: str, cursor: str | None) -> Page[Record]:
        """The page of a scan of messages, where the other program keeps none."""
        cursors.decode(f"{RecordKind.DEFERRED.value} {prefix}", cursor)
        return Page(())

    def _refusal(self, what: str) -> Unsupported:
        return Unsupported(
            f"{self.where} is another program's and is only read; {what}. Copy it first: "
            "statekeep migrate --from this --to a store of statekeep's"
        )


def key_of(where: str, what: str, name: str | bytes) -> str:
    """A key that statekeep can hold.

    Args:
        where: the other program's store.
        what: "value" or "set".
        name: the key as it is stored there.

    Raises:
        Unsupported: it cannot; the message names it.
    """
    try:
        key = name.decode() if isinstance(name, bytes) else name
    except UnicodeDecodeError:
        raise _cannot_hold(where, f"{what} {_shown(name)}", "its key is not UTF-8") from None
    try:
        return validate.key(key)
    except InvalidArgument as error:
        raise _cannot_hold(where, f"{what} {_shown(key)}", str(error)) from error


def member_of(where: str, key: str, member: bytes) -> bytes:
    """A member that statekeep can hold; raises as `key_of` does."""
    try:
        return validate.member(member)
    except InvalidArgument as error:
        what = f"member {_shown(member)} of the set {key!r}"
        raise _cannot_hold(where, what, str(error)) from error


def members_of(where: str, key: str, members: Sequence[bytes]) -> tuple[bytes, ...]:
    """Members that statekeep can hold, each once, in their order; raises as `key_of` does."""
    return tuple(dict.fromkeys(member_of(where, key, member) for member in members))


def _cannot_hold(where: str, what: str, why: str) -> Unsupported:
    return Unsupported(
        f"{where}: statekeep cannot hold the {what}: {why}. Nothing is left out silently: rename "
        "or delete it there, or read by prefixes that leave it out"
    )


def _shown(name: str | bytes) -> str:
    return repr(name) if len(name) <= SHOWN else f"{name[:SHOWN]!r}..."
