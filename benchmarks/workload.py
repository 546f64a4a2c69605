"""What is stored and in which order it is asked for: the same for all sides, and every time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import timedelta

from statekeep import Storage

KEYS = 1_000
"""How many keys there are where nothing else is said."""

VALUE = random.Random(1).randbytes(1024)
"""A value of 1 KiB."""

SHORT = random.Random(2).randbytes(100)
"""For a million of them."""

MAPPING = {
    "id": "order/0000000042",
    "state": "shipping",
    "customer": {"id": "customer/7", "name": "Ada Lovelace", "country": "GB", "vat": None},
    "total": 129.9,
    "paid": True,
    "lines": [
        {"sku": f"sku-{number:05d}", "quantity": number, "price": 12.5, "reserved": True}
        for number in range(1, 7)
    ],
    "history": [
        {"step": step, "at": f"2026-01-0{day}T12:00:00Z", "attempt": 1}
        for day, step in enumerate(("create", "reserve", "charge", "pay", "pack"), 1)
    ],
    "note": "leave at the door",
}
"""For the peers that store mappings: the state of an order, as JSON about 1 KiB."""

ENCODED = json.dumps(MAPPING).encode()

HOUR = timedelta(hours=1)
BATCH = 10_000
PICKS = 50_000


def key(number: int) -> str:
    """The key of a number; in no order that a database could gain from."""
    return f"order/{number * 2_654_435_761 % 2**32:010d}"


def picks(keys: int = KEYS, count: int = PICKS) -> list[str]:
    """Keys at random, from the whole range."""
    source = random.Random(keys)
    return [key(source.randrange(keys)) for _ in range(count)]


def batches(keys: int) -> Iterator[range]:
    """All numbers, some thousands at a time."""
    for start in range(0, keys, BATCH):
        yield range(start, min(start + BATCH, keys))


def fill(storage: Storage, keys: int = KEYS, value: bytes = VALUE) -> None:
    """Puts a value under every key."""
    for numbers in batches(keys):
        storage.values.put_many({key(number): value for number in numbers})


def state(size: int, number: int = 0) -> bytes:
    """JSON such as a workflow's state, of about so many bytes: it can be compressed.

    Args:
        size: of it.
        number: another one of the same size.
    """
    source = random.Random(size + number * 2**32)
    events: list[dict[str, object]] = []
    length = 0
    while length < size:
        event: dict[str, object] = {
            "id": f"{source.getrandbits(64):016x}",
            "type": source.choice(("TaskDispatched", "TaskCompleted", "TimerFired")),
            "at": f"2026-01-{source.randrange(1, 29):02d}T12:{source.randrange(60):02d}:00Z",
            "amount": source.randrange(100_000),
        }
        events.append(event)
        length += len(json.dumps(event)) + 2
    return json.dumps(events).encode()[:size]


def conditional(storage: Storage) -> Callable[[str], None]:
    """Puts at the version that the put before it left."""
    put = storage.values.put
    versions = storage.values.put_many({key(number): VALUE for number in range(KEYS)})

    def conditional_put(name: str) -> None:
        versions[name] = put(name, VALUE, expected=versions[name])

    return conditional_put


def transaction(storage: Storage) -> Callable[[str], None]:
    """Transactions of a state, a tag and a timer."""

    def transact(name: str) -> None:
        with storage.transaction() as unit:
            unit.put(name, VALUE)
            unit.add("tag/open", name.encode())
            unit.schedule("timers", name, due=HOUR)

    return transact
