"""A checker of histories: what threads and processes saw of keys, against what is possible.

Every event has the time it was invoked and the time it returned, in nanoseconds of one monotonic
clock of the machine. The store must look as if each write happened at one instant in between:
versions are never used twice, each version is replaced at most once (else an update was lost),
and nobody who begins to look later sees an older state. This is linearizability of a
compare-and-set register, cheap to check because versions name their order (compare Jepsen's
Knossos, which must search for it).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from attrs import evolve, field, frozen


@frozen(kw_only=True)
class _Event:
    key: str
    invoked: int
    returned: int


@frozen(kw_only=True)
class Read(_Event):
    """A key was seen at a version with a value; version 0 and None: it was absent."""

    version: int
    value: bytes | None


@frozen(kw_only=True)
class Written(_Event):
    """A conditional write succeeded: `expected` was replaced by `version` (0: deleted)."""

    expected: int
    version: int
    value: bytes | None


@frozen(kw_only=True)
class Conflicted(_Event):
    """A conditional write failed, and `current` was named as the version."""

    expected: int
    current: int


Event: TypeAlias = Read | Written | Conflicted


@frozen
class _Key:
    """The events of one key, and what they imply."""

    key: str
    events: list[Event]
    writes: Mapping[int, Written] = field(factory=dict)
    replaced: Mapping[int, Written] = field(factory=dict)


def check_history(events: Iterable[Event], *, fresh_reads: bool = True) -> list[str]:
    """What is wrong with a history; empty where it could have happened on a sound store.

    The history must hold every write of its keys, from their first creation on, all of them
    conditional (`expected=0` to create).

    Args:
        events: of any number of keys, in any order.
        fresh_reads: a read must not see what was replaced before it began.
    """
    by_key: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_key[event.key].append(event)
    return [
        f"{key!r}: {problem}"
        for key, some in by_key.items()
        for problem in _check_key(key, some, fresh_reads)
    ]


def _check_key(key: str, events: list[Event], fresh_reads: bool) -> Iterator[str]:
    writes: dict[int, Written] = {}
    replaced: dict[int, Written] = {}
    for event in events:
        if not isinstance(event, Written):
            continue
        if event.version:
            if event.version in writes:
                yield f"version {event.version} was given to two writes"
            writes[event.version] = event
        if event.expected:
            if event.expected in replaced:
                yield f"version {event.expected} was replaced twice: an update was lost"
            replaced[event.expected] = event
    known = _Key(key, events, writes, replaced)
    yield from _check_chain(known)
    yield from _check_observations(known)
    timed = [event for event in events if fresh_reads or not isinstance(event, Read)]
    yield from _check_real_time(evolve(known, events=timed))


def _check_chain(known: _Key) -> Iterator[str]:
    """Each write replaced the version then current: no gap, no fork, no creation over another."""
    before = 0
    for version in sorted(known.writes):
        write = known.writes[version]
        if write.expected == 0:
            deletion = known.replaced.get(before)
            if before and (deletion is None or deletion.version):
                yield f"version {version} was created although {before} was not deleted"
        elif write.expected != before:
            yield f"version {version} replaced {write.expected}, but {before} was current"
        before = version
    for expected in known.replaced:
        if expected not in known.writes:
            yield f"version {expected} was replaced, but no write made it"


def _check_observations(known: _Key) -> Iterator[str]:
    """Whatever was seen, some write made: the version, and with it the value."""
    for event in known.events:
        if isinstance(event, Read) and event.version:
            write = known.writes.get(event.version)
            if write is None:
                yield f"version {event.version} was read, but no write made it"
            elif write.value != event.value:
                yield f"version {event.version} was read with the value of another write"
        elif isinstance(event, Read) and event.value is not None:
            yield "a value was read at version 0"
        elif isinstance(event, Conflicted):
            if event.current == event.expected:
                yield f"a write that expected version {event.expected} failed at that version"
            elif event.current and event.current not in known.writes:
                yield f"a conflict named version {event.current}, but no write made it"


def _check_real_time(known: _Key) -> Iterator[str]:
    """Who begins after another returned sees no older state, and nothing not yet written."""
    returned = sorted(known.events, key=lambda event: event.returned)
    newest, place = 0, 0
    for event in sorted(known.events, key=lambda event: event.invoked):
        while place < len(returned) and returned[place].returned < event.invoked:
            newest = max(newest, _proven(returned[place]))
            place += 1
        yield from _check_not_older(known, event, newest)
        seen = _seen(event)
        write = known.writes.get(seen)
        if write is not None and write is not event and write.invoked > event.returned:
            yield f"version {seen} was seen before it was written"


def _check_not_older(known: _Key, event: Event, newest: int) -> Iterator[str]:
    """`newest` is a version that was there before the event began."""
    seen = _seen(event)
    if isinstance(event, Written) and 0 < event.version <= newest:
        yield f"version {event.version} was written after {newest}, and is not higher"
    if seen and seen < newest:
        yield f"version {seen} was seen after {newest} had been: time went backwards"
    if not seen and newest and not _deleted_since(known, newest, event.returned):
        yield f"absent was seen after version {newest}, and no deletion explains it"
    if seen and seen in known.replaced:
        end = known.replaced[seen]
        if end is not event and end.returned < event.invoked:
            yield f"version {seen} was seen after its replacement had returned"


def _deleted_since(known: _Key, version: int, until: int) -> bool:
    return any(
        write.version == 0 and write.expected >= version and write.invoked <= until
        for write in known.replaced.values()
    )


def _seen(event: Event) -> int:
    """The version that was current when the event took effect."""
    if isinstance(event, Read):
        return event.version
    return event.expected if isinstance(event, Written) else event.current


def _proven(event: Event) -> int:
    """The highest version that is known to have existed once the event had returned."""
    if isinstance(event, Written):
        return max(event.version, event.expected)
    return _seen(event)
