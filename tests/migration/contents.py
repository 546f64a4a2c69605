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
    for _ in range(3):
        with storage.transaction() as tx:
            for name in NAMES:
                ttl = HOUR * rng.randrange(1, 100) if rng.random() < 0.3 else None
                tx.put(prefix + name, rng.randbytes(rng.choice((0, 1, 200, 5000))), ttl=ttl)
    with storage.transaction() as tx:
        for name in NAMES[::2]:
            count = rng.choice((1, 2, 40))
            tx.add(prefix + name, *(rng.randbytes(rng.randrange(1, 40)) for _ in range(count)))
        for name in NAMES:
            due = timedelta(microseconds=rng.randrange(-(10**9), -(10**6)))
            queue = prefix + rng.choice(("timers", "timers2", "Timers"))
            tx.schedule(queue, name, due=due, payload=rng.randbytes(50))
        tx.schedule(prefix + "timers", "later", due=HOUR)
    held = storage.deferred.claim(prefix + "timers", limit=6, lease=HOUR)
    with storage.transaction() as tx:
        for message in held[::2]:
            tx.release(message, delay=HOUR)
