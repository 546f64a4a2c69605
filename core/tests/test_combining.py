"""Lanes and batches without threads: what is taken together, and how a failure is taken apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statekeep import (
    AccessDenied,
    Closed,
    Committed,
    CorruptValue,
    InvalidArgument,
    Outcome,
    OutcomeUnknown,
    Put,
    StorageError,
    Transaction,
    Unavailable,
    Unsupported,
    VersionConflict,
)
from statekeep.combining import calls
from statekeep.combining.calls import Lane, Read, Reads, Single, Singles, Write, Writes, carried_out


class Store:
    """Notes what is asked of it; some keys fail."""

    def __init__(self, poison: Mapping[str, BaseException] | None = None) -> None:
        self.poison = dict(poison or {})
        self.asked: list[list[str]] = []

    def _note(self, keys: Sequence[str]) -> None:
        self.asked.append(list(keys))
        for key in keys:
            if key in self.poison:
                raise self.poison[key]

    def read(self, keys: Sequence[str]) -> dict[str, bytes]:
        self._note(keys)
        return {key: key.encode() for key in keys if not key.startswith("absent")}

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        keys = [each.operations[0].key for each in transactions]  # type: ignore[union-attr]
        self._note(keys)
        return [Committed({key: 1}) for key in keys]


def reads(store: Store) -> Reads[bytes]:
    return Reads(1, 1, store.read, lambda values: sum(map(len, values)))


def write(key: str, value: bytes = b"") -> Write:
    return Write(Transaction((Put(key, value),)))


def done(lane: Lane, *some: calls.Call) -> list[calls.Call]:  # type: ignore[type-arg]
    return [call for part in carried_out(lane, list(some)) for call in part]


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=4), min_size=1, max_size=30),
    st.sets(st.integers(0, 20), max_size=3),
)
def test_every_read_comes_to_what_it_alone_would(asked: list[list[int]], bad: set[int]) -> None:
    """Its own keys, each once, or the error of one of its own keys; whatever travels with it."""
    store = Store({f"{number}": CorruptValue(f"{number}") for number in bad})
    some = [Read(tuple(dict.fromkeys(f"{n}" for n in keys))) for keys in asked]
    ended = done(reads(store), *some)
    assert sorted(map(id, ended)) == sorted(map(id, some))
    for call in some:
        if bad & {int(key) for key in call.keys}:
            assert isinstance(call.error, CorruptValue)
            assert str(call.error) in call.keys
        else:
            assert call.error is None
            assert {key: call.answer[key] for key in call.keys} == {
                key: key.encode() for key in call.keys
            }
    assert all(len(keys) == len(set(keys)) for keys in store.asked)


def test_poison_among_many_takes_few_reads() -> None:
    """One of 256: eight halvings."""
    store = Store({"k77": CorruptValue("k77")})
    done(reads(store), *(Read((f"k{n}",)) for n in range(256)))
    assert len(store.asked) == 1 + 2 * 8


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (InvalidArgument(), True),
        (Unsupported(), True),
        (Unavailable(), False),
        (OutcomeUnknown(), False),
        (CorruptValue(), False),
        (AccessDenied(), False),
        (Closed(), False),
        (StorageError(), False),
        (ValueError(), False),
        (SystemExit(), False),
    ],
)
def test_which_failed_commits_are_sent_again_in_parts(error: BaseException, again: bool) -> None:
    """Only where the error says that nothing was sent."""
    store = Store({"k3": error})
    some = [write(f"k{n}") for n in range(8)]
    done(Writes(1, 1, store.commit), *some)
    assert (len(store.asked) > 1) is again
    failed = [n for n, call in enumerate(some) if call.error is not None]
    assert failed == ([3] if again else list(range(8)))


def test_parts_of_a_commit_keep_the_order() -> None:
    """The first half goes first."""
    store = Store({"k5": InvalidArgument()})
    done(Writes(1, 1, store.commit), *(write(f"k{n}") for n in range(16)))
    applied = [key for keys in store.asked if "k5" not in keys for key in keys]
    assert applied == [f"k{n}" for n in range(16) if n != 5]


class Odd(Exception):
    """An exception of somebody who did not think of copies."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_each_caller_gets_an_error_of_its_own() -> None:
    """Of the same kind where it can be copied, else one that says the same."""
    conflict = VersionConflict({"a": 1}, [("q", "i")])
    for error, kind in ((conflict, VersionConflict), (Odd(1, 2), OutcomeUnknown)):
        some = [write(f"k{n}") for n in range(3)]
        done(Writes(1, 1, Store({"k1": error}).commit), *some)
        assert len({id(call.error) for call in some}) == 3
        assert {type(call.error) for call in some} == {kind}
        assert {str(call.error) for call in some} == {str(error)}


def test_a_batch_takes_what_fits_and_leaves_out_what_was_withdrawn() -> None:
    """In the order of coming; the first always goes, however large it is."""
    lane = Writes(1, 1, Store().commit)
    large = write("large", b"x" * (calls.MOST_WRITE_BYTES + 1))
    small = [write(f"k{n}") for n in range(3)]
    lane.queue.extend([large, *small])
    assert lane.withdraw(small[1])
    assert lane.take() == [large]
    assert lane.take() == [small[0], small[2]]
    assert lane.take() == [] and not lane.queue
    assert [each.sent for each in small] == [True, False, True]


def test_reads_shrink_where_values_are_large_and_grow_again() -> None:
    """By what they brought lately."""
    sizes = {"large": calls.MOST_READ_BYTES, "small": 10}
    lane: Reads[str] = Reads(1, 1, lambda keys: dict.fromkeys(keys, "x"), lambda values: 1)
    assert lane._room() == calls.MOST_KEYS
    lane._size = lambda values: sizes["large"]
    lane.send([Read(("k",))])
    assert lane._room() == 1
    lane._size = lambda values: sizes["small"]
    for _ in range(120):
        lane.send([Read(("k",))])
    assert lane._room() == calls.MOST_KEYS


def test_a_lane_lets_more_leave_when_the_last_one_is_late() -> None:
    """Up to its bound."""
    lane = Singles(1, 2)
    assert lane.may_leave(0.0)
    lane.running, lane.left = 1, 100.0
    assert not lane.may_leave(100.0 + calls.LATE_SECONDS / 2)
    assert lane.may_leave(100.0 + 2 * calls.LATE_SECONDS)
    lane.running = 2
    assert not lane.may_leave(200.0)


def test_a_single_call() -> None:
    """Its result, or its error."""
    lane = Singles(1, 1)
    good, bad = (Single(each) for each in (lambda: 7, lambda: [][0]))
    done(lane, good)
    done(lane, bad)
    assert good.answer == 7 and isinstance(bad.error, IndexError)
