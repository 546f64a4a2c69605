"""What is particular to the memory backend."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from statekeep.errors import Unavailable
from statekeep.model import (
    Cancel,
    Entry,
    KeyValueRecord,
    Operation,
    Put,
    Release,
    Restore,
    Transaction,
)
from statekeep.storage import Storage
from statekeep_memory.backend import MemoryBackend
from statekeep_memory.state import Applied, State

DAY = timedelta(days=1)


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
        assert len(backend._state._queues["queue"].heap) < 200
        claimed = storage.deferred.claim("queue", limit=100)
        assert [message.id for message in claimed] == [str(number) for number in range(20)]


def test_queues_without_messages_take_no_room() -> None:
    backend = MemoryBackend()
    with Storage(backend) as storage:
        for number in range(1_000):
            storage.deferred.schedule(f"queue {number}", "id", due=timedelta(0))
            storage.deferred.cancel(f"queue {number}", "id")
        assert not backend._state._queues


def test_a_queue_is_kept_short_whatever_the_others_hold() -> None:
    backend = MemoryBackend()
    with Storage(backend) as storage:
        for number in range(2_000):
            storage.deferred.schedule("large", str(number), due=DAY)
            storage.deferred.schedule("moved", "one", due=DAY)
        assert len(backend._state._queues["moved"].heap) < 200
        assert len(list(storage.deferred.scan("large"))) == 2_000


def test_what_is_interrupted_behind_a_cancellation_is_still_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Applying all again must do with a message that the first time has cancelled."""
    backend = MemoryBackend()
    storage = Storage(backend)
    storage.deferred.schedule("queue", "id", due=timedelta(0))
    (message,) = storage.deferred.claim("queue")
    apply, interrupted = State._apply, False

    def interrupt_once(self: State, operation: Operation, applied: Applied) -> None:
        nonlocal interrupted
        apply(self, operation, applied)
        if isinstance(operation, Cancel) and not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    monkeypatch.setattr(State, "_apply", interrupt_once)
    operations = (
        Put("before", b""),
        Release("queue", "id", message.token),
        Cancel("queue", "id"),
        Put("after", b""),
    )
    with pytest.raises(KeyboardInterrupt):
        backend.commit([Transaction(operations)])
    assert set(storage.values.get_many(["before", "after"])) == {"before", "after"}
    assert list(storage.deferred.scan("queue")) == []


def test_a_handler_that_calls_in_the_middle_of_a_write_is_refused() -> None:
    """It would wait for its own thread for ever, or see half of a transaction."""
    refused: list[Unavailable] = []

    def clock() -> int:
        for call in (lambda: storage.values.get("key"), lambda: storage.values.put("key", b"")):
            with pytest.raises(Unavailable, match="in the middle of another call") as found:
                call()
            refused.append(found.value)
        return time.time_ns() // 1000

    storage = Storage(MemoryBackend(clock))
    storage.values.put("key", b"value")
    assert len(refused) == 2
    assert storage.values.get("key") is not None


def test_a_version_restored_over_a_newer_one_is_not_given_again_after_a_deletion() -> None:
    with Storage(MemoryBackend(lambda: 1_000)) as storage:
        for _ in range(5):
            last = storage.values.put("key", b"")
        record = KeyValueRecord("key", Entry(b"", 3))
        storage.backend.commit([Transaction((Restore(record),))])
        storage.values.delete("key")
        assert storage.values.put("key", b"") > last
