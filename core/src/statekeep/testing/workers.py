"""What the kit's child processes run; functions of a module, so that they can be sent to them."""

from __future__ import annotations

from datetime import timedelta
from multiprocessing.connection import Connection

from statekeep.model import Add, Committed, Put, Schedule, Transaction
from statekeep.storage import Storage
from statekeep.testing.history import Event
from statekeep.testing.recording import record
from statekeep.testing.support import HOUR, Opener


def put(opener: Opener, key: str, value: bytes) -> int:
    """Writes a value and returns its version."""
    with Storage(opener()) as storage:
        return storage.values.put(key, value)


def get(opener: Opener, key: str) -> bytes | None:
    """Reads a value."""
    with Storage(opener()) as storage:
        entry = storage.values.get(key)
        return None if entry is None else entry.value


def count(opener: Opener, key: str, rounds: int) -> None:
    """Adds one to a counter, again and again."""
    with Storage(opener()) as storage:
        for _ in range(rounds):
            storage.values.update(key, lambda value: b"%d" % (int(value or b"0") + 1))


def claim_all(opener: Opener, queue: str) -> list[str]:
    """Claims until the queue is empty; the ids it got."""
    taken: list[str] = []
    with Storage(opener()) as storage:
        while found := storage.deferred.claim(queue, limit=2, lease=HOUR):
            taken += [message.id for message in found]
    return taken


def set_up_and_put(opener: Opener, key: str) -> None:
    """Sets up once more, beside others that do, and writes."""
    with Storage(opener()) as storage:
        storage.backend.setup()
        storage.values.put(key, b"")


def history(opener: Opener, keys: list[str], seed: int, rounds: int) -> list[Event]:
    """Reads and writes keys at random and returns what it saw."""
    with Storage(opener()) as storage:
        return record(storage, keys, seed, rounds)


def commit_until_killed(opener: Opener, prefix: str, first: int, acknowledge: Connection) -> None:
    """Commits one numbered transaction after the other, and sends the number of each done."""
    backend = opener()
    number = first
    while True:
        (outcome,) = backend.commit([crash_transaction(prefix, number)])
        assert isinstance(outcome, Committed), outcome
        acknowledge.send_bytes(b"%d" % number)
        number += 1


def crash_transaction(prefix: str, number: int) -> Transaction:
    """A value of some size, the last number, a member and a message: all of one number."""
    return Transaction(
        (
            Put(f"{prefix}value/{number:06}", b"%d " % number * 500, 0),
            Put(prefix + "last", b"%d" % number),
            Add(prefix + "set", (b"%d" % number,)),
            Schedule(prefix + "queue", str(number), timedelta(days=1), b"%d" % number),
        )
    )
