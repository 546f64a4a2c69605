"""Several processes on one store, where it is shared; and none where it is not."""

from __future__ import annotations

import pytest

from statekeep.storage import Storage
from statekeep.testing import workers
from statekeep.testing.children import run_processes
from statekeep.testing.support import Kit, Opener


class ProcessesTests(Kit):
    """`capabilities.shared`, declared or not."""

    def test_processes_see_each_others_writes(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """What one process wrote, the next one and this one read, at once."""
        self._need_shared(storage)
        storage.values.put(prefix + "here", b"here")
        (version,) = run_processes(
            workers.put, [(opener, prefix + "there", b"there")], self.patience
        )
        entry = storage.values.get(prefix + "there")
        assert entry is not None and (entry.value, entry.version) == (b"there", version)
        (seen,) = run_processes(workers.get, [(opener, prefix + "here")], self.patience)
        assert seen == b"here"

    def test_processes_lose_no_update(self, opener: Opener, storage: Storage, prefix: str) -> None:
        """Processes that count up one key with update() give the exact sum."""
        self._need_shared(storage)
        key, rounds = prefix + "counter", 40
        run_processes(workers.count, [(opener, key, rounds)] * 3, self.patience)
        entry = storage.values.get(key)
        assert entry is not None and int(entry.value) == 3 * rounds

    def test_processes_shared_store_is_one_for_all_backends(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """Two backends opened in one process see the same state, in all three kinds."""
        self._need_shared(storage)
        with Storage(opener()) as other:
            version = other.values.put(prefix + "key", b"value")
            assert storage.values.put(prefix + "key", b"next", expected=version) == version + 1
            other.sets.add(prefix + "set", b"a")
            storage.sets.add(prefix + "set", b"b")
            assert other.sets.members(prefix + "set") == {b"a", b"b"}
            entry = other.values.get(prefix + "key")
            assert entry is not None and entry.value == b"next"

    def test_processes_unshared_store_is_private(
        self, opener: Opener, storage: Storage, prefix: str
    ) -> None:
        """Where nothing is shared, another backend sees nothing of this one."""
        if storage.capabilities.shared:
            pytest.skip("shared is declared")
        storage.values.put(prefix + "key", b"value")
        storage.sets.add(prefix + "set", b"member")
        with Storage(opener()) as other:
            assert other.values.get(prefix + "key") is None
            assert other.sets.members(prefix + "set") == frozenset()
            other.values.put(prefix + "key", b"other", expected=0)
        entry = storage.values.get(prefix + "key")
        assert entry is not None and entry.value == b"value"

    def _need_shared(self, storage: Storage) -> None:
        if not storage.capabilities.shared:
            pytest.skip("shared is not declared")
