"""Records what one thread or process sees of a store, for `check_history`."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from statekeep.errors import VersionConflict
from statekeep.model import Entry
from statekeep.storage import Storage
from statekeep.testing.history import Conflicted, Event, Read, Written


def record(storage: Storage, keys: Sequence[str], seed: int, rounds: int) -> list[Event]:
    """Reads keys at random and writes them conditionally; everything that happened, in order.

    Args:
        storage: the store.
        keys: contended by all that record at the same time.
        seed: distinct for each of them, because it makes their values distinct.
        rounds: how often to read and then perhaps write.
    """
    chance = random.Random(seed)
    events: list[Event] = []
    for number in range(rounds):
        if chance.random() < 0.3:
            events += read_many(storage, keys)
        key = chance.choice(keys)
        seen = read(storage, key)
        events.append(seen)
        if chance.random() < 0.8:
            value = b"%d/%d" % (seed, number)
            delete = seen.version > 0 and chance.random() < 0.2
            expected = (
                seen.version if chance.random() < 0.9 else chance.choice((0, seen.version + 1))
            )
            events.append(write(storage, key, expected, None if delete and expected else value))
    return events


def read(storage: Storage, key: str) -> Read:
    """A `get`, timed."""
    invoked = time.monotonic_ns()
    entry = storage.values.get(key)
    return _read(key, entry, invoked, time.monotonic_ns())


def read_many(storage: Storage, keys: Sequence[str]) -> list[Read]:
    """A `get_many`, timed."""
    invoked = time.monotonic_ns()
    found = storage.values.get_many(keys)
    returned = time.monotonic_ns()
    return [_read(key, found.get(key), invoked, returned) for key in keys]


def write(storage: Storage, key: str, expected: int, value: bytes | None) -> Written | Conflicted:
    """A conditional put, or with None a conditional delete, timed."""
    invoked = time.monotonic_ns()
    try:
        if value is None:
            storage.values.delete(key, expected=expected)
            version = 0
        else:
            version = storage.values.put(key, value, expected=expected)
    except VersionConflict as conflict:
        return Conflicted(
            key=key,
            invoked=invoked,
            returned=time.monotonic_ns(),
            expected=expected,
            current=conflict.current[key],
        )
    return Written(
        key=key,
        invoked=invoked,
        returned=time.monotonic_ns(),
        expected=expected,
        version=version,
        value=value,
    )


def _read(key: str, entry: Entry | None, invoked: int, returned: int) -> Read:
    version, value = (0, None) if entry is None else (entry.version, entry.value)
    return Read(key=key, invoked=invoked, returned=returned, version=version, value=value)
