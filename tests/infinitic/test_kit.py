"""What applies of the conformance kit: reads, scans, paging and cursors.

The kit writes through the backend, and a source refuses that: so what it commits is written past
the code under test, as Infinitic would write it, and what it reads comes from the source. Messages,
which Infinitic does not keep, are held in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
import statekeep
from statekeep.backend import Backend
from statekeep.layers.base import Layer
from statekeep.model import (
    Add,
    Committed,
    DeferredMessage,
    Delete,
    Outcome,
    Page,
    Put,
    Record,
    RecordKind,
    Remove,
    Transaction,
)
from statekeep.testing.cursors import CursorsTests
from statekeep.testing.paging import PagingTests
from statekeep.testing.reads import ReadsTests
from statekeep.testing.scans import ScansTests

from tests.infinitic.deployments import Deployment


class Deployed(Layer):
    """A source, and beside it whoever writes what it reads.

    Args:
        source: under test.
        deployment: what it reads.
        messages: a backend for messages.
    """

    def __init__(self, source: Backend, deployment: Deployment, messages: Backend) -> None:
        super().__init__(source)
        self._deployment = deployment
        self._messages = messages
        self._versions: dict[str, int] = {}
        self._lock = threading.Lock()  # the writer has one connection

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """Writes past the source; conditions are not looked at."""
        with self._lock:
            return [self._write(transaction) for transaction in transactions]

    def _write(self, transaction: Transaction) -> Outcome:
        versions: dict[str, int] = {}
        puts: dict[str, tuple[bytes, int]] = {}
        gone: set[str] = set()
        rest = []
        for each in transaction.operations:
            if isinstance(each, Put):
                versions[each.key] = self._versions.get(each.key, 0) + 1
                puts[each.key] = (each.value, versions[each.key])
            elif isinstance(each, Delete):
                versions[each.key] = 0
                if self.inner.get_many([each.key]):
                    gone.add(each.key)
                self._deployment.delete(each.key)
            elif isinstance(each, Add):
                there = self.inner.contains(each.key, each.members)
                new = [member for member in each.members if member not in there]
                if new:
                    self._deployment.add(each.key, new)
            elif isinstance(each, Remove):
                self._deployment.remove(each.key, each.members)
            else:
                rest.append(each)
        if puts:
            self._deployment.put(puts)
        self._versions |= versions
        kept = self._messages.commit([Transaction(tuple(rest))])[0]
        cancelled = kept.cancelled if isinstance(kept, Committed) else frozenset()
        return Committed(versions, frozenset(gone), cancelled)

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """From memory."""
        return self._messages.claim(queue, limit=limit, lease=lease)

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """Messages from memory, all else from the source."""
        where = self._messages if kind is RecordKind.DEFERRED else self.inner
        return where.scan(kind, prefix=prefix, limit=limit, cursor=cursor)

    def close(self) -> None:
        """Both."""
        super().close()
        self._messages.close()


class Kit(ReadsTests, PagingTests):
    """The kit's names are its own, so one deployment does for a class.

    Attributes:
        database: where.
        options: of the deployment.
    """

    database: str
    options: ClassVar[Mapping[str, Any]] = {}

    # Whoever writes here has no transactions over sets, which this test is about.
    test_reads_of_sets_are_one_snapshot = None  # type: ignore[assignment]
    # A hundred thousand members through a writer of single rows; test_reading pages through 5000.
    test_paging_a_set_of_100_000_members = None  # type: ignore[assignment]

    @pytest.fixture
    def opener(self, lasting: Deployment) -> Callable[[], Backend]:
        def make() -> Backend:
            memory = statekeep.open("memory:").backend
            return Deployed(statekeep.open(lasting.url).backend, lasting, memory)

        return make


class TestRedis(Kit):
    """As it is; but values and sets share their names there, and must not have the same."""

    database = "redis"
    test_reads_peek_knows_or_says_nothing = None  # type: ignore[assignment]


@pytest.mark.soak
class TestAllOfPostgres(Kit, ScansTests, CursorsTests):
    """With columns wide enough for the longest key."""

    database = "postgres"
    options: ClassVar[Mapping[str, Any]] = {"key": "VARCHAR(1024)"}


@pytest.mark.soak
class TestAllOfMysql(Kit, ScansTests, CursorsTests):
    """With keys of bytes: Infinitic's `utf8` can neither hold all the names nor tell them apart."""

    database = "mysql"
    options: ClassVar[Mapping[str, Any]] = {"key": "VARBINARY(1024)", "member": "VARBINARY(1024)"}


@pytest.mark.soak
class TestAllOfMysqlText(Kit, ScansTests):
    """With keys as text, in a character set that holds all names and tells them apart."""

    database = "mysql"
    options: ClassVar[Mapping[str, Any]] = {
        "charset": "CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin",
        "member": "VARBINARY(1024)",
    }


@pytest.mark.soak
class TestAllOfRedis(TestRedis, ScansTests):
    """Scans too; the kit's test of cursors gives values and sets one name."""
