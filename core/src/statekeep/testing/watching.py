"""What a backend tells of itself to those who operate it: usage, target, findings."""

from __future__ import annotations

import re

import pytest
from attrs import astuple, fields

from statekeep.backend import Backend, Target
from statekeep.errors import Closed
from statekeep.findings import Finding, Severity
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, Kit, Opener, snapshot
from statekeep.usage import PoolStats, Usage

NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")
GROWING = ("created", "closed", "failed", "waits", "wait_timeouts", "wait_seconds")


class WatchingTests(Kit):
    """What `usage`, `target` and `examine` promise."""

    def test_watching_usage_and_target_ask_no_store(self, opener: Opener) -> None:
        """They answer also when the backend is closed: a scrape may come late."""
        backend = opener()
        backend.close()
        assert isinstance(backend.usage(), Usage)
        assert isinstance(backend.target, Target)
        assert backend.target.system and str(backend.target)

    def test_watching_the_pool_adds_up(self, storage: Storage, prefix: str) -> None:
        """Nothing is negative, counters never go down, what was opened is there or was closed."""

        def work() -> None:
            for number in range(20):
                storage.values.put(f"{prefix}{number}", b"")
                storage.values.get(f"{prefix}{number}")

        before = storage.usage().pool
        self.in_threads(*[work] * 4)
        after = storage.usage().pool
        for pool in (before, after):
            assert min(each for each in astuple(pool) if each is not None) >= 0
            assert pool.limit is None or pool.in_use + pool.idle <= pool.limit
            assert pool.created - pool.closed == pool.in_use + pool.idle
        assert all(getattr(before, name) <= getattr(after, name) for name in GROWING)
        assert after.waiting == 0
        assert {each.name for each in fields(PoolStats)} > set(GROWING)

    def test_watching_stats_have_the_pool_too(self, storage: Storage) -> None:
        """stats() is usage() and more: the limit is the same in both."""
        assert storage.stats().pool.limit == storage.usage().pool.limit

    def test_watching_an_examination_changes_nothing(self, storage: Storage, prefix: str) -> None:
        """Not a record, not a lease; and it may be repeated."""
        storage.values.put(prefix + "key", b"value")
        storage.sets.add(prefix + "set", b"member")
        storage.deferred.schedule(prefix + "queue", "id", due=HOUR)
        before = snapshot(storage, prefix)
        for _ in range(2):
            list(storage.backend.examine())
        assert snapshot(storage, prefix) == before

    def test_watching_findings_say_what_to_do(self, backend: Backend) -> None:
        """Each has a stable name and what was found; what is not good has a meaning."""
        for finding in backend.examine():
            assert isinstance(finding, Finding) and isinstance(finding.severity, Severity)
            assert NAME.fullmatch(finding.check), finding
            assert finding.found.strip(), finding
            if finding.severity is not Severity.GOOD:
                assert finding.meaning.strip(), finding

    def test_watching_a_closed_backend_is_not_examined(self, opener: Opener) -> None:
        """As with every call that asks the store; a backend without findings has nothing to ask."""
        backend = opener()
        some = list(backend.examine())
        backend.close()
        if some:
            with pytest.raises(Closed):
                list(backend.examine())
