"""The layer that counts and times every call: what `stats()` and `usage()` tell of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from time import perf_counter
from typing import TypeVar

from attrs import evolve

from statekeep.backend import Backend, BackendStats
from statekeep.layers.base import Layer
from statekeep.metrics import MOST_QUEUED, Recorder, Series
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
from statekeep.naming import bytes_of_record, load_of, members_of, operation_of
from statekeep.pending import CallAgain, Pending, finishing
from statekeep.session import error_of
from statekeep.usage import Usage

T = TypeVar("T")


class MetricsLayer(Layer):
    """Counts what passes, and changes nothing.

    Reads of one value and commits are written out, for they are what most calls are.
    """

    def __init__(self, inner: Backend, recorder: Recorder) -> None:
        super().__init__(inner)
        self._recorder = recorder
        self._series = recorder.series
        self._get_one, self._get_several = self._series["get"], self._series["get_many"]
        self._inner_get_many, self._inner_commit = inner.get_many, inner.commit

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`."""
        series = self._get_one if len(keys) == 1 else self._get_several
        begun = perf_counter()
        try:
            found = self._inner_get_many(keys)
        except BaseException as error:
            series.add(perf_counter() - begun, len(keys))
            series.failed(type(error).__name__)
            raise
        taken = perf_counter() - begun
        size = 0
        for entry in found.values():
            size += len(entry.value)
        queued = series.queued
        queued.append((taken, len(keys), size))
        if len(queued) > MOST_QUEUED:
            series.settle()
        return found

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        series = self._series[operation_of(transactions)]
        begun = perf_counter()
        try:
            outcomes = self._inner_commit(transactions)
        except BaseException as error:
            series.add(perf_counter() - begun, *load_of(transactions))
            series.failed(type(error).__name__)
            raise
        taken = perf_counter() - begun
        queued = series.queued
        queued.append((taken, *load_of(transactions)))
        if len(queued) > MOST_QUEUED:
            series.settle()
        _count_failures(series, outcomes)
        return outcomes

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`. Transactions to be committed again are counted then."""
        begun = perf_counter()

        def answered(outcomes: list[Outcome | None]) -> list[Outcome | None]:
            taken = perf_counter() - begun
            both = zip(transactions, outcomes, strict=True)
            done = [each for each, outcome in both if outcome is not None]
            if done:
                series = self._series[operation_of(done)]
                series.add(taken, *load_of(done))
                _count_failures(series, outcomes)
            return outcomes

        def failed(error: BaseException) -> None:
            if not isinstance(error, CallAgain):
                series = self._series[operation_of(transactions)]
                series.add(perf_counter() - begun, *load_of(transactions))
                series.failed(type(error).__name__)

        return finishing(lambda: self.inner.start_commit(transactions), answered, failed)

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """See `Backend.peek`. Where it is in vain, the read follows that is counted."""
        begun = perf_counter()
        found = self.inner.peek(keys)
        if found is not None:
            series = self._get_one if len(keys) == 1 else self._get_several
            series.add(perf_counter() - begun, len(keys), _bytes_of_entries(found))
        return found

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`. A call to be made again is counted then."""
        begun = perf_counter()
        series = self._get_one if len(keys) == 1 else self._get_several

        def answered(found: dict[str, Entry]) -> dict[str, Entry]:
            series.add(perf_counter() - begun, len(keys), _bytes_of_entries(found))
            return found

        def failed(error: BaseException) -> None:
            if not isinstance(error, CallAgain):
                series.add(perf_counter() - begun, len(keys))
                series.failed(type(error).__name__)

        return finishing(lambda: self.inner.start_get_many(keys), answered, failed)

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """See `Backend.peek_members`; as with `peek`."""
        begun = perf_counter()
        found = self.inner.peek_members(keys)
        if found is not None:
            series = self._series[members_of(keys)]
            series.add(perf_counter() - begun, len(keys), _bytes_of_sets(found))
        return found

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        return self._measured(
            members_of(keys),
            lambda: self.inner.members_many(keys),
            lambda found: (len(keys), _bytes_of_sets(found)),
        )

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        return self._measured(
            "page",
            lambda: self.inner.members(key, limit=limit, cursor=cursor),
            lambda page: (len(page.items), sum(map(len, page.items))),
        )

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        return self._measured(
            "contains",
            lambda: self.inner.contains(key, members),
            lambda found: (len(members), 0),
        )

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        return self._measured(
            "claim",
            lambda: self.inner.claim(queue, limit=limit, lease=lease),
            lambda claimed: (len(claimed), sum(len(each.payload) for each in claimed)),
        )

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        return self._measured(
            "messages_many",
            lambda: self.inner.messages_many(names),
            lambda found: (len(names), sum(len(each.payload) for each in found.values())),
        )

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`."""
        return self._measured(
            "scan",
            lambda: self.inner.scan(kind, prefix=prefix, limit=limit, cursor=cursor),
            lambda page: (len(page.items), sum(map(bytes_of_record, page.items))),
        )

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._measured("ping", self.inner.ping, lambda _: (0, 0))

    def stats(self) -> BackendStats:
        """See `Backend.stats`, with the numbers of the calls."""
        found = self._measured("stats", self.inner.stats, lambda _: (0, 0))
        return evolve(found, calls=self._recorder.calls(), retries=self._recorder.retries)

    def usage(self) -> Usage:
        """See `Backend.usage`, with the numbers of the calls."""
        found = self.inner.usage()
        return evolve(found, calls=self._recorder.calls(), retries=self._recorder.retries)

    def purge(self) -> int:
        """See `Backend.purge`."""
        return self._measured("purge", self.inner.purge, lambda purged: (purged, 0))

    def _measured(
        self, operation: str, call: Callable[[], T], size: Callable[[T], tuple[int, int]]
    ) -> T:
        """The answer of a call, which is counted with the records and bytes of its answer."""
        series = self._series[operation]
        begun = perf_counter()
        try:
            answer = call()
        except BaseException as error:
            series.add(perf_counter() - begun, 0)
            series.failed(type(error).__name__)
            raise
        taken = perf_counter() - begun
        series.add(taken, *size(answer))
        return answer


def _count_failures(series: Series, outcomes: Iterable[Outcome | None]) -> None:
    for outcome in outcomes:
        if outcome is not None and not isinstance(outcome, Committed):
            series.failed(type(error_of(outcome)).__name__)


def _bytes_of_entries(found: dict[str, Entry]) -> int:
    return sum(len(entry.value) for entry in found.values())


def _bytes_of_sets(found: dict[str, frozenset[bytes]]) -> int:
    return sum(len(member) for members in found.values() for member in members)
