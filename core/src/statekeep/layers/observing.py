"""The layers that observers sit in: one opens and closes them, one tells them of calls besides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from time import perf_counter
from typing import Any, TypeVar

from statekeep.backend import Backend, BackendStats
from statekeep.layers.base import Layer
from statekeep.model import (
    Committed,
    DeferredMessage,
    Entry,
    Outcome,
    Page,
    Record,
    RecordKind,
    Transaction,
)
from statekeep.naming import get_of, load_of, members_of, operation_of
from statekeep.observer import CallEnd, CallObserver, Observer
from statekeep.pending import Pending
from statekeep.session import error_of

T = TypeVar("T")

log = logging.getLogger("statekeep.observers")


class ObservedLayer(Layer):
    """Opens observers and closes them. Those that only ask for numbers cost the calls nothing.

    Args:
        inner: what is watched.
        observers: who watches; each is opened by `setup` and closed by `close`.
        name: the backend's name.
    """

    def __init__(self, inner: Backend, observers: Iterable[Observer], name: str) -> None:
        super().__init__(inner)
        self._all = tuple(observers)
        self._opened: list[Observer] = []
        self._complained: set[int] = set()
        self.backend_name = name

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """See `Backend.peek`."""
        return self.inner.peek(keys)

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """See `Backend.peek_members`."""
        return self.inner.peek_members(keys)

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`."""
        return self.inner.start_get_many(keys)

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`."""
        return self.inner.start_commit(transactions)

    def setup(self) -> None:
        """See `Backend.setup`; then the observers begin."""
        self.inner.setup()
        for observer in self._all:
            if observer not in self._opened:
                observer.opened(self)
                self._opened.append(observer)

    def close(self) -> None:
        """Closes the observers, which may have a last question, and then what is inside."""
        try:
            for observer in reversed(self._all):
                try:
                    observer.close()
                except Exception:
                    self._complain(observer)
        finally:
            self.inner.close()

    def _complain(self, observer: Observer) -> None:
        if id(observer) not in self._complained:
            self._complained.add(id(observer))
            log.exception(
                "observer %s failed; further failures of it are not logged", type(observer).__name__
            )


class ObservingLayer(ObservedLayer):
    """Tells of every call besides, in the thread and context of the caller; changes nothing."""

    def __init__(self, inner: Backend, observers: Iterable[Observer], name: str) -> None:
        super().__init__(inner, observers, name)
        self._observers = tuple(each for each in self._all if isinstance(each, CallObserver))

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        return self._observed(get_of(keys), len(keys), lambda: self.inner.get_many(keys))

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        return self._observed(members_of(keys), len(keys), lambda: self.inner.members_many(keys))

    def start_get_many(self, keys: Sequence[str]) -> None:
        """None: what is opened at the begin of a call is closed at its end, in one context."""

    def start_commit(self, transactions: Sequence[Transaction]) -> None:
        """None, as with `start_get_many`."""

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """See `Backend.peek`: a call only where it answers."""
        return self._peeked(get_of(keys), keys, self.inner.peek)

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """See `Backend.peek_members`."""
        return self._peeked(members_of(keys), keys, self.inner.peek_members)

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        return self._observed(
            "page", None, lambda: self.inner.members(key, limit=limit, cursor=cursor)
        )

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        return self._observed("contains", len(members), lambda: self.inner.contains(key, members))

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        return self._observed(
            "claim", None, lambda: self.inner.claim(queue, limit=limit, lease=lease)
        )

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        return self._observed("messages_many", len(names), lambda: self.inner.messages_many(names))

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        return self._observed(
            "scan",
            None,
            lambda: self.inner.scan(kind, prefix=prefix, limit=limit, cursor=cursor),
        )

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        records, _ = load_of(transactions)
        return self._observed(
            operation_of(transactions),
            records,
            lambda: self.inner.commit(transactions),
            _refusal,
        )

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._observed("ping", 0, self.inner.ping)

    def stats(self) -> BackendStats:
        """See `Backend.stats`."""
        return self._observed("stats", 0, self.inner.stats)

    def purge(self) -> int:
        """See `Backend.purge`."""
        return self._observed("purge", 0, self.inner.purge)

    def _observed(
        self,
        operation: str,
        records: int | None,
        call: Callable[[], T],
        refusal: Callable[[T], BaseException | None] = lambda answer: None,
    ) -> T:
        """The answer of a call.

        Args:
            operation: what the call is.
            records: how many it concerns; None for as many as the answer has.
            call: makes it.
            refusal: the error that an answer stands for.
        """
        tokens: list[Any] = []
        begun, count, error = perf_counter(), records or 0, None
        try:  # an interrupt may come after any call, and who was told of the begin is to be told
            for observer in self._observers:  # of the end: what it opened would stay open
                tokens.append(self._begun(observer, operation))  # noqa: PERF401  # one by one
            begun = perf_counter()
            answer = call()
            if records is None:
                count = _length(answer)
            error = refusal(answer)
            return answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._ended(CallEnd(operation, perf_counter() - begun, count, error), tokens)
            del error  # whose traceback has this frame

    def _peeked(
        self, operation: str, keys: Sequence[str], peek: Callable[[Sequence[str]], T | None]
    ) -> T | None:
        begun = perf_counter()
        found = peek(keys)
        if found is not None:
            end = CallEnd(operation, perf_counter() - begun, len(keys), None)
            self._ended(end, [self._begun(each, operation) for each in self._observers])
        return found

    def _begun(self, observer: CallObserver, operation: str) -> Any:
        try:
            return observer.begun(operation)
        except Exception:
            self._complain(observer)
            return None

    def _ended(self, end: CallEnd, tokens: list[Any]) -> None:
        """The last to begin is the first to end, as what they opened is nested."""
        if not tokens:
            return
        observer = self._observers[len(tokens) - 1]
        try:
            observer.ended(end, tokens.pop())
        except Exception:
            self._complain(observer)
        finally:  # also where an interrupt came
            self._ended(end, tokens)


def _length(answer: Any) -> int:
    return len(answer.items) if isinstance(answer, Page) else len(answer)


def _refusal(outcomes: Sequence[Outcome]) -> BaseException | None:
    """The error of a single transaction that was not applied."""
    if len(outcomes) == 1 and not isinstance(outcomes[0], Committed):
        return error_of(outcomes[0])
    return None
