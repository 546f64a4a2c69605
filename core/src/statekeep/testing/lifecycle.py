"""From `setup()` to `close()`: what can be repeated, and what a closed backend answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from statekeep.backend import Backend, BackendStats, Capabilities
from statekeep.errors import Closed
from statekeep.model import Put, RecordKind, Transaction
from statekeep.storage import Storage
from statekeep.testing import workers
from statekeep.testing.children import run_processes
from statekeep.testing.support import HOUR, Kit, Opener, fresh_prefix

CALLS: dict[str, Callable[[Backend], object]] = {
    "get_many": lambda backend: backend.get_many(["key"]),
    "members_many": lambda backend: backend.members_many(["key"]),
    "members": lambda backend: backend.members("key", limit=1, cursor=None),
    "contains": lambda backend: backend.contains("key", [b"m"]),
    "claim": lambda backend: backend.claim("queue", limit=1, lease=HOUR),
    "scan_key_value": lambda b: b.scan(RecordKind.KEY_VALUE, prefix="x", limit=1, cursor=None),
    "scan_key_set": lambda b: b.scan(RecordKind.KEY_SET, prefix="x", limit=1, cursor=None),
    "scan_deferred": lambda b: b.scan(RecordKind.DEFERRED, prefix="x", limit=1, cursor=None),
    "commit": lambda b: b.commit([Transaction((Put(fresh_prefix() + "k", b""),))]),
    "setup": lambda backend: backend.setup(),
    "ping": lambda backend: backend.ping(),
    "stats": lambda backend: backend.stats(),
    "purge": lambda backend: backend.purge(),
}


class LifecycleTests(Kit):
    """Section 5 of the design."""

    def test_lifecycle_setup_may_be_repeated(self, backend: Backend, prefix: str) -> None:
        """Another setup() creates nothing, harms nothing and leaves nothing to create."""
        storage = Storage(backend)
        storage.values.put(prefix + "key", b"value")
        backend.setup()
        assert list(backend.missing()) == []
        entry = storage.values.get(prefix + "key")
        assert entry is not None and entry.value == b"value"

    def test_lifecycle_setup_may_be_raced_by_threads(self, opener: Opener, prefix: str) -> None:
        """Threads that open and set up together all end with a working backend."""

        def use() -> int:
            with Storage(opener()) as storage:
                storage.backend.setup()
                return storage.values.put(fresh_prefix() + "key", b"")

        assert all(version > 0 for version in self.in_threads(*[use] * 6))

    def test_lifecycle_setup_may_be_raced_by_processes(
        self, opener: Opener, backend: Backend, prefix: str
    ) -> None:
        """So do processes."""
        if not backend.capabilities.shared:
            pytest.skip("shared is not declared")
        keys = [f"{prefix}{number}" for number in range(3)]
        run_processes(workers.set_up_and_put, [(opener, key) for key in keys], self.patience)
        assert set(backend.get_many(keys)) == set(keys)

    def test_lifecycle_ping_returns(self, storage: Storage) -> None:
        """An open backend answers."""
        storage.ping()

    def test_lifecycle_stats_count_by_kind(self, storage: Storage, prefix: str) -> None:
        """stats() has records and bytes of all three kinds, and what was written is in them."""
        empty = storage.stats()
        storage.values.put(prefix + "key", b"x" * 1000)
        storage.sets.add(prefix + "set", b"m" * 500)
        storage.deferred.schedule(prefix + "queue", "id", due=HOUR, payload=b"p" * 700)
        full = storage.stats()
        assert isinstance(full, BackendStats) and set(full.kinds) == set(RecordKind)
        pool = full.pool
        assert min(pool.in_use, pool.idle, pool.waiting) >= 0
        assert full.stored_bytes is None or full.stored_bytes >= 0
        for kind in RecordKind:
            # In a shared store others may remove theirs meanwhile: only what is written here.
            assert full.kinds[kind].records >= 1 and full.kinds[kind].bytes >= 1
            if not storage.capabilities.shared:
                assert full.kinds[kind].records == empty.kinds[kind].records + 1
                assert full.kinds[kind].bytes > empty.kinds[kind].bytes

    def test_lifecycle_purge_counts_nothing_where_nothing_expired(
        self, storage: Storage, prefix: str
    ) -> None:
        """purge() answers a number and takes no value that lives for ever."""
        storage.values.put(prefix + "key", b"")
        assert storage.purge() >= 0
        if not storage.capabilities.shared:
            assert storage.purge() == 0
        assert storage.values.get(prefix + "key") is not None

    @pytest.mark.parametrize("call", CALLS)
    def test_lifecycle_closed_backends_answer_nothing(self, opener: Opener, call: str) -> None:
        """After close() every method raises Closed."""
        backend = opener()
        backend.close()
        with pytest.raises(Closed):
            CALLS[call](backend)

    def test_lifecycle_close_may_be_repeated(self, opener: Opener) -> None:
        """Closing twice is no error, and a storage closes at the end of its block."""
        backend = opener()
        with Storage(backend) as storage:
            storage.ping()
        with pytest.raises(Closed):
            storage.ping()
        backend.close()
        storage.close()

    def test_lifecycle_close_leaves_other_backends_alone(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """Closing one of two backends of a store does not disturb the other."""
        opener().close()
        storage.values.put(prefix + "key", b"")
        assert storage.values.get(prefix + "key") is not None

    def test_lifecycle_capabilities_are_sane(self, backend: Backend) -> None:
        """They are declared, the same each time, and writable: the kit is for writing."""
        capabilities = backend.capabilities
        assert isinstance(capabilities, Capabilities)
        assert backend.capabilities == capabilities
        assert not capabilities.read_only

    def test_lifecycle_reopening_shows_what_is_declared(self, opener: Opener, prefix: str) -> None:
        """A durable or shared store still has what was written; any other one is empty."""
        with Storage(opener()) as storage:
            storage.values.put(prefix + "key", b"value")
            storage.sets.add(prefix + "set", b"member")
            storage.deferred.schedule(prefix + "queue", "id", due=HOUR)
            kept = storage.capabilities.durable or storage.capabilities.shared
        with Storage(opener()) as storage:
            entry = storage.values.get(prefix + "key")
            assert (entry is not None and entry.value == b"value") is kept
            assert bool(storage.sets.members(prefix + "set")) is kept
            assert bool(list(storage.deferred.scan(prefix + "queue"))) is kept
