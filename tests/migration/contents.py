"""What the tests move: records of every kind and state, at random but the same each time."""

from __future__ import annotations

import random
from datetime import timedelta

from statekeep import Storage

HOUR = timedelta(hours=1)
KEYS = ("plain", "Case", "case", "case ", "ключ", "\U0001f511", "a/b\\c", "%_*?[", "x" * 1024)
NAMES = tuple(f"{key[:1000]}/{number}" for key in KEYS for number in range(3))


def fill(storage: Storage, seed: int = 0, prefix: str = "") -> None:
    """Values with and without expiry, of many versions; sets; messages in every state."""
    rng = random.Random(seed)
    for name in NAMES:
        ttl = HOUR * rng.randrange(1, 100) if rng.random() < 0.3 else None
        for _ in range(rng.randrange(1, 4)):
            size = rng.choice((0, 1, 200, 5000))
            storage.values.put(prefix + name, rng.randbytes(size), ttl=ttl)
    for name in NAMES[::2]:
        count = rng.choice((1, 2, 40))
        storage.sets.add(
            prefix + name, *(rng.randbytes(rng.randrange(1, 40)) for _ in range(count))
        )
    _schedule(storage, rng, prefix)


def _schedule(storage: Storage, rng: random.Random, prefix: str) -> None:
    for name in NAMES:
        due = timedelta(microseconds=rng.randrange(-(10**9), -(10**6)))
        queue = prefix + rng.choice(("timers", "timers2", "Timers"))
        storage.deferred.schedule(queue, name, due=due, payload=rng.randbytes(50))
    for message in storage.deferred.claim(prefix + "timers", limit=6, lease=HOUR)[::2]:
        storage.deferred.release(message, delay=HOUR)
    storage.deferred.schedule(prefix + "timers", "later", due=HOUR)
