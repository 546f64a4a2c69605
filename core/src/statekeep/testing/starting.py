"""Calls that are sent without waiting for the answer: what the blocking ones would say, or None."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TypeVar

from statekeep.backend import Backend
from statekeep.errors import Closed
from statekeep.model import (
    Add,
    Check,
    Committed,
    Conflict,
    Delete,
    Entry,
    Operation,
    Outcome,
    Put,
    Remove,
    Schedule,
    Transaction,
)
from statekeep.pending import CallAgain, Pending
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, Kit, Opener

T = TypeVar("T")

LARGE = 300_000
"""Bytes that no network brings in one piece."""


class StartingTests(Kit):
    """`start_get_many` and `start_commit`. A backend without them passes: None is an answer."""

    def test_starting_a_read_answers_as_reading(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """What is there, absent ones left out; a write that has returned is seen."""
        keys = [f"{prefix}{name}" for name in ("a", "empty", "large", "absent", "late")]
        storage.values.put_many({keys[0]: b"1", keys[1]: b"", keys[2]: bytes(LARGE)})
        storage.values.put(keys[4], b"mortal", ttl=self._ttl(backend))
        for asked in (keys[:1], keys[3:4], keys, [f"{prefix}{n}" for n in range(300)] + keys):
            storage.values.put(keys[0], b"%d" % len(asked))
            found = self._read(backend, asked)
            assert found in (None, backend.get_many(asked))

    def test_starting_several_reads_mixes_up_none(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """Each gets its own answer, in whichever order they are received."""
        keys = [f"{prefix}{number}" for number in range(4)]
        storage.values.put_many({key: key.encode() for key in keys})
        for order in (1, -1):
            started = [(key, backend.start_get_many((key,))) for key in keys]
            for key, pending in started[::order]:
                if pending is not None:
                    found = self._received(pending)
                    assert found is None or [e.value for e in found.values()] == [key.encode()]

    def test_starting_a_read_and_abandoning_it(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """Nobody gets its answer later; to abandon what has ended changes nothing."""
        storage.values.put_many({prefix + "a": b"a", prefix + "b": b"b"})
        for _ in range(3):
            pending = backend.start_get_many((prefix + "a",))
            if pending is not None:
                pending.abandon()
                pending.abandon()
            assert set(backend.get_many((prefix + "b",))) == {prefix + "b"}
            assert (self._read(backend, (prefix + "b",)) or {}).keys() <= {prefix + "b"}
        pending = backend.start_get_many((prefix + "a",))
        if pending is not None:
            self._received(pending)
            other = backend.start_get_many((prefix + "b",))
            pending.abandon()
            assert other is None or set(self._received(other) or (prefix + "b",)) == {prefix + "b"}

    def test_starting_tells_how_long_it_may_take(self, backend: Backend, prefix: str) -> None:
        """A deadline to come, and something to wait for."""
        pending = backend.start_get_many((prefix + "a",))
        if pending is not None:
            assert pending.deadline > time.monotonic()
            assert pending.fileno() >= 0
            pending.abandon()

    def test_starting_a_commit_answers_as_committing(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """Of every kind, alone and together: the same outcomes, and the same is there."""
        for together in (False, True):
            outcomes: dict[str, list[object]] = {"started": [], "committed": []}
            for kind in outcomes:
                base = f"{prefix}{together}{kind}/"
                storage.values.put_many({base + name: b"old" for name in ("a", "b", "c", "d", "e")})
                storage.values.put(base + "mortal", b"old", ttl=self._ttl(backend))
                versions = {key: e.version for key, e in self._all(backend, base).items()}
                batches = _transactions(base, versions, self._ttl(backend))
                for transactions in [batches] if together else [(each,) for each in batches]:
                    commit = partial(self._commit, backend) if kind == "started" else backend.commit
                    outcomes[kind] += [_shape(base, each) for each in commit(transactions)]
            assert outcomes["started"] == outcomes["committed"]
            seen = [
                self._state(storage, f"{prefix}{together}{k}/") for k in ("started", "committed")
            ]
            assert seen[0] == seen[1]

    def test_starting_a_commit_of_a_stale_version_conflicts(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """With the version that is there; nothing of it is applied, and all that came with it."""
        first = storage.values.put(prefix + "a", b"1")
        version = storage.values.put(prefix + "a", b"2")
        for several in (1, 40):
            names = [f"{prefix}{several}-{number}" for number in range(several)]
            written = storage.values.put_many(dict.fromkeys(names, b"1"))
            puts = [Transaction((Put(name, b"2", written[name]),)) for name in names]
            stale = Transaction((Put(prefix + "a", b"3", first), Put(names[0] + "x", b"")))
            *done, lost = self._commit(backend, [*puts, stale])
            assert lost == Conflict({prefix + "a": version})
            assert all(isinstance(each, Committed) for each in done)
            assert set(backend.get_many([*names, names[0] + "x"])) == set(names)
        assert backend.get_many((prefix + "a",))[prefix + "a"].value == b"2"

    def test_starting_a_commit_and_abandoning_it(
        self, backend: Backend, storage: Storage, prefix: str
    ) -> None:
        """It is applied whole or not at all, soon or never; and the backend goes on."""
        keys = [prefix + "a", prefix + "b"]
        storage.values.put_many(dict.fromkeys(keys, b"0"))
        for number in range(1, 6):
            value = b"%d" % number
            pending = backend.start_commit((Transaction(tuple(Put(key, value) for key in keys)),))
            if pending is not None:
                pending.abandon()
            seen = {entry.value for entry in backend.get_many(keys).values()}
            assert len(seen) == 1 or not backend.capabilities.snapshot_reads
            storage.values.put(prefix + "c", value)
            assert backend.get_many((prefix + "c",))[prefix + "c"].value == value

    def test_starting_after_closing(self, opener: Opener, prefix: str) -> None:
        """None, or `Closed`; nothing is sent."""
        backend = opener()
        backend.get_many((prefix + "a",))
        backend.close()
        with suppress(Closed):
            assert backend.start_get_many((prefix + "a",)) is None
        with suppress(Closed):
            assert backend.start_commit((Transaction((Put(prefix + "a", b""),)),)) is None
        again = opener()
        assert again.get_many((prefix + "a",)) == {}
        again.close()

    def _read(self, backend: Backend, keys: Sequence[str]) -> dict[str, Entry] | None:
        """The answer to a read that was started; None where there was none."""
        pending = backend.start_get_many(keys)
        return None if pending is None else self._received(pending)

    def _commit(self, backend: Backend, transactions: Sequence[Transaction]) -> list[Outcome]:
        """The outcomes of a commit that was started; what it left is committed."""
        pending = backend.start_commit(transactions)
        found = None if pending is None else self._received(pending)
        outcomes: list[Outcome | None] = [None] * len(transactions) if found is None else found
        assert len(outcomes) == len(transactions)
        left = [each for each, outcome in zip(transactions, outcomes, strict=True) if not outcome]
        rest = iter(backend.commit(left) if left else ())
        return [next(rest) if outcome is None else outcome for outcome in outcomes]

    def _received(self, pending: Pending[T]) -> T | None:
        """The answer; None where the blocking method is to be called."""
        deadline = time.monotonic() + self.patience
        try:
            while (answer := pending.receive()) is None:
                assert time.monotonic() < deadline, "there was no answer"
                select.select([pending.fileno()], (), (), 0.1)
        except CallAgain:
            return None
        return answer

    def _ttl(self, backend: Backend) -> timedelta | None:
        return HOUR if backend.capabilities.expiry else None

    def _all(self, backend: Backend, base: str) -> dict[str, Entry]:
        return backend.get_many([base + name for name in ("a", "b", "c", "d", "e", "mortal")])

    def _state(self, storage: Storage, base: str) -> list[object]:
        """Everything below a prefix but versions and times."""
        values = {key.removeprefix(base): entry for key, entry in storage.values.scan(base)}
        return [
            {key: (entry.value, entry.expires is None) for key, entry in values.items()},
            storage.sets.members(base + "set"),
            [message.payload for message in storage.deferred.claim(base + "queue")],
        ]


def _shape(base: str, outcome: Outcome) -> object:
    """An outcome without its versions, which no two commits share."""
    if isinstance(outcome, Committed):
        versions = {
            key.removeprefix(base): version > 0 for key, version in outcome.versions.items()
        }
        return versions, len(outcome.deleted), len(outcome.cancelled)
    if isinstance(outcome, Conflict):
        return {key.removeprefix(base): found > 0 for key, found in outcome.current.items()}
    return type(outcome.error)


def _transactions(base: str, versions: dict[str, int], ttl: timedelta | None) -> list[Transaction]:
    """One of each kind that callers make, and some that meet; over the values a to e."""

    def expected(name: str) -> int:
        return versions[base + name]

    batches: list[tuple[Operation, ...]] = [
        (Put(base + "a", b"new", expected("a")),),
        (Put(base + "b", b"unconditional"),),
        (Put(base + "c", b"stale", expected("c") + 1000),),
        (Put(base + "d", b"mortal now", expected("d"), ttl),),
        (Put(base + "mortal", b"immortal now"),),
        (Put(base + "created", b"1", 0),),
        (Put(base + "appeared", b"2"),),
        (Put(base + "a", b"too late", 0),),
        (Put(base + "nothing there", b"", 7),),
        (Delete(base + "e"), Put(base + "f", b"with e", 0)),
        (Check(base + "d", 0), Put(base + "g", b"never")),
        (Add(base + "set", (b"1", b"2")), Remove(base + "set", (b"2",))),
        (Schedule(base + "queue", "1", timedelta(0), b"payload"),),
        (Put(base + "twice", b"first"),),
        (Put(base + "twice", b"second"),),
        (Delete(base + "absent"),),
    ]
    return [Transaction(each) for each in batches]
