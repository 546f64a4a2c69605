"""The history checker finds what is impossible, and accepts what is not."""

from __future__ import annotations

import pytest
from statekeep.testing.history import Conflicted, Event, Read, Written, check_history


def read(at: int, version: int, value: bytes | None = None, until: int | None = None) -> Read:
    """A read of the key `k` that took one tick."""
    return Read(
        key="k",
        invoked=at,
        returned=until or at + 1,
        version=version,
        value=value or _value(version),
    )


def write(at: int, expected: int, version: int, until: int | None = None) -> Written:
    """A write of the key `k` that took one tick."""
    return Written(
        key="k",
        invoked=at,
        returned=until or at + 1,
        expected=expected,
        version=version,
        value=_value(version),
    )


def conflict(at: int, expected: int, current: int) -> Conflicted:
    """A failed write of the key `k` that took one tick."""
    return Conflicted(key="k", invoked=at, returned=at + 1, expected=expected, current=current)


def _value(version: int) -> bytes | None:
    return b"%d" % version if version else None


SOUND: dict[str, list[Event]] = {
    "nothing": [],
    "reads_of_nothing": [read(0, 0), read(5, 0)],
    "a_chain": [write(0, 0, 10), read(2, 10), write(4, 10, 11), read(6, 11), write(8, 11, 12)],
    "deleted_and_created": [
        write(0, 0, 10),
        write(2, 10, 0),
        read(4, 0),
        write(6, 0, 20),
        read(8, 20),
        write(10, 20, 0),
        write(12, 0, 30),
    ],
    "conflicts": [write(0, 0, 10), conflict(2, 0, 10), conflict(4, 11, 10), write(6, 10, 11)],
    "a_read_beside_a_write_sees_either": [
        write(0, 0, 10),
        write(2, 10, 11, until=9),
        read(3, 11),
        read(3, 10),
        read(5, 11),
    ],
    "a_read_beside_a_deletion": [
        write(0, 0, 10),
        write(2, 10, 0, until=9),
        read(3, 0),
        read(3, 10),
    ],
    "conflict_beside_the_write": [write(0, 0, 10, until=9), conflict(2, 0, 10), read(3, 10)],
    "recorded_in_any_order": [read(8, 11), write(4, 10, 11), write(0, 0, 10), read(2, 10)],
}

BAD: dict[str, tuple[str, list[Event]]] = {
    "version_twice": ("given to two writes", [write(0, 0, 10), write(2, 10, 0), write(4, 0, 10)]),
    "lost_update": (
        "an update was lost",
        [write(0, 0, 10), write(2, 10, 11), write(2, 10, 12)],
    ),
    "lost_to_a_deletion": (
        "an update was lost",
        [write(0, 0, 10), write(2, 10, 11), write(2, 10, 0)],
    ),
    "two_creations": ("was not deleted", [write(0, 0, 10), write(0, 0, 11)]),
    "replaced_what_was_not_current": (
        "was current",
        [write(0, 0, 10), write(2, 10, 11), write(4, 11, 12), write(6, 10, 13)],
    ),
    "replaced_what_nobody_wrote": ("no write made it", [write(0, 0, 10), write(2, 55, 56)]),
    "read_of_what_nobody_wrote": ("no write made it", [write(0, 0, 10), read(2, 11)]),
    "torn_entry": ("the value of another write", [write(0, 0, 10), read(2, 10, b"other")]),
    "value_without_version": ("at version 0", [read(0, 0, b"value")]),
    "conflict_at_the_expected_version": ("failed at that version", [conflict(0, 0, 0)]),
    "conflict_names_nonsense": ("conflict named version", [write(0, 0, 10), conflict(2, 0, 99)]),
    "time_goes_backwards": (
        "backwards",
        [write(0, 0, 10), write(2, 10, 11), read(4, 11), read(6, 10)],
    ),
    "stale_read": ("backwards", [write(0, 0, 10), write(2, 10, 11), read(4, 10)]),
    "two_readers_disagree_during_a_write": (
        "backwards",
        [write(0, 0, 10), write(2, 10, 11, until=20), read(3, 11), read(5, 10)],
    ),
    "read_from_the_future": ("before it was written", [read(0, 10), write(5, 0, 10)]),
    "absent_again": ("no deletion explains it", [write(0, 0, 10), read(2, 10), read(4, 0)]),
    "absent_before_the_deletion": (
        "no deletion explains it",
        [write(0, 0, 10), read(2, 0), write(5, 10, 0)],
    ),
    "seen_after_deletion": (
        "after its replacement",
        [write(0, 0, 10), write(2, 10, 0), read(4, 10)],
    ),
    "version_went_down": (
        "is not higher",
        [write(0, 0, 10), write(2, 10, 0), write(4, 0, 9)],
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_history_that_can_be_is_accepted(name: str) -> None:
    """No false alarm."""
    assert check_history(SOUND[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_history_that_cannot_be_is_refused(name: str) -> None:
    """What is wrong is named, with the key."""
    reason, events = BAD[name]
    problems = check_history(events)
    assert any(reason in problem for problem in problems), problems
    assert all(problem.startswith("'k': ") for problem in problems)


def test_history_of_keys_is_separate() -> None:
    """The same version of two keys is no version twice."""
    mine = [write(0, 0, 10), read(2, 10)]
    other = [
        Written(key="o", invoked=0, returned=1, expected=0, version=10, value=b"x"),
        Read(key="o", invoked=2, returned=3, version=10, value=b"x"),
    ]
    assert check_history([*mine, *other]) == []


def test_late_reads_are_sound_where_reads_need_not_be_fresh() -> None:
    """But no read of what was never written, nor a write that trusts a late one."""
    late = [write(0, 0, 10), write(2, 10, 11), read(4, 10)]
    assert check_history(late)
    assert not check_history(late, fresh_reads=False)
    assert check_history([*late, write(6, 10, 12)], fresh_reads=False)
    assert check_history([*late, read(6, 13)], fresh_reads=False)
