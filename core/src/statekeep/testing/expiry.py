"""Expiry: a value past its time to live is absent to every reader at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from statekeep.backend import Backend
from statekeep.errors import InvalidArgument, Unsupported
from statekeep.model import Committed, Conflict, RecordKind
from statekeep.storage import Storage
from statekeep.testing.conditions import operation
from statekeep.testing.scans import names
from statekeep.testing.support import HOUR, SHORT, Kit, commit, scan_all

SKEW = timedelta(days=1)


class ExpiryTests(Kit):
    """Section 3.7 of the contract."""

    @pytest.fixture
    def expiring(self, storage: Storage) -> Storage:
        """The storage, where it declares expiry."""
        if not storage.capabilities.expiry:
            pytest.skip("expiry is not declared")
        return storage

    def test_expiry_is_unsupported_where_not_declared(self, storage: Storage, prefix: str) -> None:
        """A time to live that would not be honoured is refused, and nothing is written."""
        if storage.capabilities.expiry:
            pytest.skip("expiry is declared")
        with pytest.raises(Unsupported):
            storage.values.put(prefix + "key", b"", ttl=HOUR)
        assert storage.values.get(prefix + "key") is None

    def test_expiry_is_shown_by_every_read(self, expiring: Storage, prefix: str) -> None:
        """Until then the value is there, and its entry says when it ends."""
        key = prefix + "key"
        expiring.values.put(key, b"value", ttl=HOUR)
        entry = expiring.values.get(key)
        assert entry is not None and entry.value == b"value" and entry.expires is not None
        assert abs(entry.expires - (datetime.now(UTC) + HOUR)) < SKEW
        assert expiring.values.get_many([key]) == {key: entry}
        assert list(expiring.values.scan(prefix)) == [(key, entry)]

    def test_expiry_makes_absent_to_every_read(self, expiring: Storage, prefix: str) -> None:
        """get, get_many and scan no longer show it, and those that live on are spared."""
        dead, live, ever = prefix + "dead", prefix + "live", prefix + "ever"
        expiring.values.put(live, b"live", ttl=HOUR)
        expiring.values.put(ever, b"ever")
        expiring.values.put(dead, b"dead", ttl=SHORT)
        self._wait(expiring, dead)
        assert set(expiring.values.get_many([dead, live, ever])) == {live, ever}
        assert {key for key, _ in expiring.values.scan(prefix)} == {live, ever}
        assert [key for key, _ in expiring.values.scan(dead)] == []

    @pytest.mark.parametrize("kind", ["put", "check", "delete"])
    def test_expiry_makes_absent_to_conditions(
        self, expiring: Storage, prefix: str, kind: str
    ) -> None:
        """expected=0 holds; the version it had conflicts, and the conflict says absent."""
        key = prefix + "key"
        version = expiring.values.put(key, b"", ttl=SHORT)
        self._wait(expiring, key)
        assert commit(expiring.backend, operation(kind, key, version)) == Conflict({key: 0})
        outcome = commit(expiring.backend, operation(kind, key, 0))
        assert isinstance(outcome, Committed) and not outcome.deleted
        entry = expiring.values.get(key)
        assert (entry is not None) is (kind == "put")

    def test_expiry_makes_absent_to_delete(self, expiring: Storage, prefix: str) -> None:
        """Deleting what has expired answers that nothing was there."""
        key = prefix + "key"
        expiring.values.put(key, b"", ttl=SHORT)
        self._wait(expiring, key)
        assert expiring.values.delete(key) is False

    def test_expiry_makes_absent_to_update(self, expiring: Storage, prefix: str) -> None:
        """update() begins anew: its function gets None, and no time to live is inherited."""
        key = prefix + "key"
        expiring.values.put(key, b"old", ttl=SHORT)
        self._wait(expiring, key)
        expiring.values.update(key, lambda value: b"new" if value is None else b"inherited")
        entry = expiring.values.get(key)
        assert entry is not None and (entry.value, entry.expires) == (b"new", None)

    def test_expiry_ends_with_a_put_without_it(self, expiring: Storage, prefix: str) -> None:
        """A put without a time to live lets the value live for ever, whatever came before."""
        keys = [prefix + name for name in ("put", "conditional", "update")]
        versions = {key: expiring.values.put(key, b"", ttl=HOUR) for key in keys}
        expiring.values.put(keys[0], b"kept")
        expiring.values.put(keys[1], b"kept", expected=versions[keys[1]])
        expiring.values.update(keys[2], lambda _: b"kept")
        assert [e.expires for e in expiring.values.get_many(keys).values()] == [None] * 3

    def test_expiry_moves_with_every_put(self, expiring: Storage, prefix: str) -> None:
        """The last put decides, be it later or sooner; deleting forgets it."""
        later, sooner, again = prefix + "later", prefix + "sooner", prefix + "again"
        expiring.values.put(later, b"", ttl=SHORT)
        expiring.values.put(later, b"", ttl=HOUR)
        expiring.values.put(again, b"", ttl=SHORT)
        expiring.values.delete(again)
        expiring.values.put(again, b"")
        expiring.values.put(sooner, b"", ttl=HOUR)
        expiring.values.put(sooner, b"", ttl=SHORT)
        self._wait(expiring, sooner)
        assert set(expiring.values.get_many([later, sooner, again])) == {later, again}

    def test_expiry_in_a_transaction(self, expiring: Storage, prefix: str) -> None:
        """Values of one transaction may have a time to live, others none."""
        with expiring.transaction() as tx:
            tx.put(prefix + "short", b"", ttl=SHORT)
            tx.put(prefix + "ever", b"")
        self._wait(expiring, prefix + "short")
        assert [key for key, _ in expiring.values.scan(prefix)] == [prefix + "ever"]

    def test_expiry_does_not_cut_a_scan_short(self, expiring: Storage, prefix: str) -> None:
        """Small pages with expired records between the living lead on to the last one."""
        with expiring.transaction() as tx:
            for number in range(40):
                tx.put(f"{prefix}{number:02}", b"", ttl=None if number % 10 == 9 else SHORT)
        self._wait(expiring, prefix + "38")
        found = names(scan_all(expiring.backend, RecordKind.KEY_VALUE, prefix, limit=3))
        assert found == [f"{prefix}{number:02}" for number in (9, 19, 29, 39)]

    def test_expiry_purge_takes_only_what_expired(self, expiring: Storage, prefix: str) -> None:
        """purge() says how many went; those that live, with or without an end, stay."""
        keep = {prefix + "ever": None, prefix + "hour": HOUR}
        for key, ttl in keep.items():
            expiring.values.put(key, b"keep", ttl=ttl)
        for number in range(20):
            expiring.values.put(f"{prefix}dead/{number}", b"", ttl=SHORT)
        self.eventually(lambda: not list(expiring.values.scan(prefix + "dead/")), "expiry")
        purged = expiring.purge()
        assert purged >= 0
        if not expiring.capabilities.reclaims_expired:
            assert purged >= 20
        assert {key for key, _ in expiring.values.scan(prefix)} == set(keep)
        if not expiring.capabilities.shared:
            assert expiring.purge() == 0

    def test_expiry_purge_gives_space_back(self, expiring: Storage, prefix: str) -> None:
        """Expired values no longer count once purged."""
        if expiring.capabilities.shared:
            pytest.skip("shared: others write to the store meanwhile")

        def records() -> int:
            return expiring.stats().kinds[RecordKind.KEY_VALUE].records

        before = records()
        for number in range(20):
            expiring.values.put(f"{prefix}{number}", b"x" * 100, ttl=SHORT)
        self.eventually(lambda: not list(expiring.values.scan(prefix)), "expiry")
        expiring.purge()
        assert records() == before

    @pytest.mark.parametrize("ttl", [timedelta(0), -SHORT, timedelta(days=40_000), 5, "1s"])
    def test_expiry_that_makes_no_sense_is_refused(
        self, backend: Backend, prefix: str, ttl: timedelta
    ) -> None:
        """Zero, negative, over a century, no timedelta: InvalidArgument."""
        with pytest.raises(InvalidArgument):
            Storage(backend).values.put(prefix + "key", b"", ttl=ttl)

    def _wait(self, storage: Storage, key: str) -> None:
        self.eventually(lambda: storage.values.get(key) is None, f"expiry of {key}")
