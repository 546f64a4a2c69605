"""What is particular to the memory backend."""

from __future__ import annotations

from datetime import timedelta

from statekeep.storage import Storage
from statekeep_memory.backend import MemoryBackend


def test_a_timer_that_is_moved_for_ever_takes_no_more_room() -> None:
    """Moving and cancelling leave nothing behind, and the order of delivery is kept."""
    backend = MemoryBackend()
    with Storage(backend) as storage:
        for number in range(20):
            storage.deferred.schedule("queue", str(number), due=timedelta(seconds=number - 100))
        for number in range(5_000):
            storage.deferred.schedule("queue", "moved", due=timedelta(hours=number))
            storage.deferred.schedule("queue", f"cancelled {number}", due=timedelta(hours=1))
            storage.deferred.cancel("queue", f"cancelled {number}")
        assert len(backend._state._heaps["queue"]) < 200
        claimed = storage.deferred.claim("queue", limit=100)
        assert [message.id for message in claimed] == [str(number) for number in range(20)]
