"""One storage, many threads: nothing lost, nothing counted twice."""

from __future__ import annotations

import threading
from datetime import timedelta

from statekeep.errors import VersionConflict
from statekeep.storage import Storage
from statekeep.testing.support import PAST, Kit

THREADS = 6
ROUNDS = 40


class ThreadsTests(Kit):
    """Section 3.11 of the contract."""

    def test_threads_lose_no_update(self, storage: Storage, prefix: str) -> None:
        """Counting up one key from many threads with update() gives the exact sum."""
        key = prefix + "counter"

        def count() -> None:
            for _ in range(ROUNDS):
                storage.values.update(key, lambda value: b"%d" % (int(value or b"0") + 1))

        self.in_threads(*[count] * THREADS)
        entry = storage.values.get(key)
        assert entry is not None and int(entry.value) == THREADS * ROUNDS

    def test_threads_never_get_one_version_twice(self, storage: Storage, prefix: str) -> None:
        """Unconditional puts of one key, with deletions between, all get versions of their own."""
        key = prefix + "key"

        def write() -> list[int]:
            versions = []
            for number in range(ROUNDS):
                versions.append(storage.values.put(key, b""))
                if number % 5 == 0:
                    storage.values.delete(key)
            return versions

        versions = [v for one in self.in_threads(*[write] * THREADS) for v in one]
        assert len(set(versions)) == THREADS * ROUNDS

    def test_threads_create_a_key_once(self, storage: Storage, prefix: str) -> None:
        """Of many creations with expected=0 at once, one succeeds; the others learn its version."""

        def create(name: str, mine: bytes) -> int | dict[str, int]:
            try:
                return storage.values.put(name, mine, expected=0)
            except VersionConflict as conflict:
                return conflict.current

        for number in range(10):
            key = f"{prefix}{number}"
            answers = self.in_threads(
                *[lambda n=n, k=key: create(k, b"%d" % n) for n in range(THREADS)]
            )
            (version,) = [answer for answer in answers if isinstance(answer, int)]
            assert all(answer in (version, {key: version}) for answer in answers)

    def test_threads_change_a_set_together(self, storage: Storage, prefix: str) -> None:
        """Members added and removed by many threads are exactly those that should remain."""
        key = prefix + "set"

        def change(number: int) -> None:
            for step in range(ROUNDS):
                storage.sets.add(key, b"%d/%d" % (number, step), b"common")
                if step % 2:
                    storage.sets.remove(key, b"%d/%d" % (number, step))

        self.in_threads(*[lambda n=n: change(n) for n in range(THREADS)])
        assert storage.sets.members(key) == {b"common"} | {
            b"%d/%d" % (number, step) for number in range(THREADS) for step in range(0, ROUNDS, 2)
        }

    def test_threads_commit_transactions_that_cross(self, storage: Storage, prefix: str) -> None:
        """Transactions over the same keys in opposite orders neither deadlock nor mix."""
        a, b = prefix + "a", prefix + "b"

        def write(number: int, keys: tuple[str, ...]) -> None:
            for step in range(ROUNDS):
                with storage.transaction() as tx:
                    for key in keys:
                        tx.put(key, b"%d/%d" % (number, step))
                        tx.add(key, b"%d/%d" % (number, step))

        self.in_threads(
            lambda: write(1, (a, b)), lambda: write(2, (b, a)), lambda: write(3, (a, b))
        )
        entries = storage.values.get_many([a, b])
        assert entries[a].value == entries[b].value
        sets = storage.sets.members_many([a, b])
        assert sets[a] == sets[b] and len(sets[a]) == 3 * ROUNDS

    def test_threads_move_money(self, storage: Storage, prefix: str) -> None:
        """Transfers between accounts, each a conditional transaction, keep the total."""
        accounts = [f"{prefix}{number}" for number in range(4)]
        storage.values.put_many(dict.fromkeys(accounts, b"100"))

        def transfer(number: int) -> int:
            done = 0
            for step in range(ROUNDS):
                source, target = accounts[(number + step) % 4], accounts[(number + step + 1) % 4]
                found = storage.values.get_many([source, target])
                try:
                    with storage.transaction() as tx:
                        for key, change in ((source, -1), (target, 1)):
                            balance = int(found[key].value) + change
                            tx.put(key, b"%d" % balance, expected=found[key].version)
                    done += 1
                except VersionConflict:
                    continue
            return done

        done = self.in_threads(*[lambda n=n: transfer(n) for n in range(4)])
        entries = storage.values.get_many(accounts)
        assert sum(int(entry.value) for entry in entries.values()) == 400
        assert sum(done) > 0

    def test_threads_use_everything_at_once(self, storage: Storage, prefix: str) -> None:
        """All surfaces under use together raise nothing and block nobody."""
        stop = threading.Event()
        queue = prefix + "queue"

        def writer() -> None:
            try:
                for number in range(ROUNDS):
                    with storage.transaction() as tx:
                        tx.put(f"{prefix}{number}", b"")
                        tx.add(prefix + "set", b"%d" % number)
                        tx.schedule(queue, str(number), due=PAST)
            finally:
                stop.set()

        def reader() -> None:
            while not stop.is_set():
                list(storage.values.scan(prefix))
                list(storage.sets.pages(prefix + "set", 7))
                list(storage.deferred.scan(queue))
                storage.purge()
                storage.ping()

        def worker() -> int:
            done = 0
            while not stop.is_set() or list(storage.deferred.scan(queue)):
                for message in storage.deferred.claim(queue, limit=5, lease=timedelta(hours=1)):
                    storage.deferred.acknowledge(message)
                    done += 1
            return done

        *_, done = self.in_threads(writer, reader, worker)
        assert done == ROUNDS
