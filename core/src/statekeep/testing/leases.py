"""Leases: who claimed a message last holds it, and nobody else can change it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from statekeep.errors import LeaseLost
from statekeep.model import DeferredMessage
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, SHORT, Kit

USES: dict[str, Callable[[Storage, DeferredMessage], None]] = {
    "acknowledge": lambda storage, message: storage.deferred.acknowledge(message),
    "release": lambda storage, message: storage.deferred.release(message),
    "extend": lambda storage, message: storage.deferred.extend(message, HOUR),
}


class LeasesTests(Kit):
    """Section 3.8 of the contract, for what is claimed."""

    def claimed(
        self, storage: Storage, queue: str, lease: timedelta = HOUR, id: str = "id"
    ) -> DeferredMessage:
        """A message, scheduled and claimed."""
        storage.deferred.schedule(queue, id, due=PAST, payload=b"payload")
        (message,) = storage.deferred.claim(queue, lease=lease)
        return message

    def taken_over(self, storage: Storage, queue: str) -> DeferredMessage:
        """The message of the queue, once its lease has ended."""
        (message,) = self.eventually(
            lambda: storage.deferred.claim(queue, limit=10, lease=HOUR), "the end of the lease"
        )
        return message

    def test_leases_hide_the_message(self, storage: Storage, prefix: str) -> None:
        """While it is held, no other claim gets it."""
        self.claimed(storage, prefix + "queue")
        for _ in range(3):
            assert storage.deferred.claim(prefix + "queue", limit=10) == []

    def test_leases_end(self, storage: Storage, prefix: str) -> None:
        """Then the message is delivered again, one attempt higher, with another token."""
        queue = prefix + "queue"
        first = self.claimed(storage, queue, SHORT)
        second = self.taken_over(storage, queue)
        assert (second.name, second.payload, second.due) == (first.name, b"payload", first.due)
        assert second.attempt == first.attempt + 1 == 2
        assert second.token != first.token

    def test_leases_acknowledged_end_the_message(self, storage: Storage, prefix: str) -> None:
        """Acknowledged, a message is gone for good, and cannot be acknowledged again."""
        queue = prefix + "queue"
        message = self.claimed(storage, queue)
        storage.deferred.acknowledge(message)
        assert list(storage.deferred.scan(queue)) == []
        for use in USES.values():
            with pytest.raises(LeaseLost):
                use(storage, message)
        assert storage.deferred.cancel(queue, "id") is False

    @pytest.mark.parametrize("use", USES)
    def test_leases_taken_over_are_lost(self, storage: Storage, prefix: str, use: str) -> None:
        """The token of before can change nothing once another worker has the message."""
        queue = prefix + "queue"
        stale = self.claimed(storage, queue, SHORT)
        current = self.taken_over(storage, queue)
        with pytest.raises(LeaseLost) as caught:
            USES[use](storage, stale)
        assert caught.value.lost == ((queue, "id"),)
        assert list(storage.deferred.scan(queue)) == [current]
        storage.deferred.acknowledge(current)

    @pytest.mark.parametrize("use", USES)
    def test_leases_end_with_a_move(self, storage: Storage, prefix: str, use: str) -> None:
        """Scheduling a claimed message anew takes it from its holder; its attempts begin anew."""
        queue = prefix + "queue"
        stale = self.claimed(storage, queue)
        storage.deferred.schedule(queue, "id", due=PAST, payload=b"moved")
        with pytest.raises(LeaseLost):
            USES[use](storage, stale)
        (moved,) = storage.deferred.scan(queue)
        assert (moved.token, moved.attempt, moved.payload) == ("", 0, b"moved")
        (current,) = storage.deferred.claim(queue, limit=10, lease=HOUR)
        assert (current.payload, current.attempt) == (b"moved", 1)
        with pytest.raises(LeaseLost):
            USES[use](storage, stale)
        storage.deferred.acknowledge(current)

    @pytest.mark.parametrize("use", USES)
    def test_leases_end_with_a_cancellation(self, storage: Storage, prefix: str, use: str) -> None:
        """A claimed message can be cancelled; even under the same id, the old token is dead."""
        queue = prefix + "queue"
        stale = self.claimed(storage, queue)
        assert storage.deferred.cancel(queue, "id") is True
        with pytest.raises(LeaseLost):
            USES[use](storage, stale)
        assert list(storage.deferred.scan(queue)) == []
        current = self.claimed(storage, queue)
        assert current.token != stale.token
        with pytest.raises(LeaseLost):
            USES[use](storage, stale)
        storage.deferred.acknowledge(current)

    @pytest.mark.parametrize("use", USES)
    def test_leases_need_the_right_token(self, storage: Storage, prefix: str, use: str) -> None:
        """A token of another message, or an invented one, opens nothing."""
        queue = prefix + "queue"
        mine = self.claimed(storage, queue, id="mine")
        other = self.claimed(storage, queue, id="other")
        assert mine.token != other.token
        for token in (other.token, "0", "x", mine.token + " ", mine.token + "0"):
            wrong = DeferredMessage(queue, "mine", mine.due, b"", token)
            with pytest.raises(LeaseLost):
                USES[use](storage, wrong)
        storage.deferred.acknowledge(mine)
        storage.deferred.acknowledge(other)

    def test_leases_released_give_the_message_back(self, storage: Storage, prefix: str) -> None:
        """A released message can be claimed at once; attempts go on, the old token is dead."""
        queue = prefix + "queue"
        first = self.claimed(storage, queue)
        storage.deferred.release(first)
        (listed,) = storage.deferred.scan(queue)
        assert (listed.token, listed.attempt, listed.due) == ("", 1, first.due)
        second = self.taken_over(storage, queue)
        assert (second.attempt, second.payload) == (2, b"payload")
        with pytest.raises(LeaseLost):
            storage.deferred.acknowledge(first)
        storage.deferred.acknowledge(second)

    @pytest.mark.parametrize("use", USES)
    def test_leases_released_are_not_held(self, storage: Storage, prefix: str, use: str) -> None:
        """Who gave a message back cannot act on it, even before another claims it."""
        message = self.claimed(storage, prefix + "queue")
        storage.deferred.release(message)
        with pytest.raises(LeaseLost):
            USES[use](storage, message)

    def test_leases_released_with_a_delay_wait(self, storage: Storage, prefix: str) -> None:
        """Given back for later, a message is hidden until then."""
        queue = prefix + "queue"
        storage.deferred.release(self.claimed(storage, queue), delay=HOUR)
        assert storage.deferred.claim(queue) == []
        (listed,) = storage.deferred.scan(queue)
        assert timedelta(minutes=50) < listed.visible - listed.due < timedelta(hours=2)
        storage.deferred.release(self.claimed(storage, queue + "2"), delay=SHORT)
        assert self.taken_over(storage, queue + "2").attempt == 2

    def test_leases_released_queue_up_behind_what_waits(
        self, storage: Storage, prefix: str
    ) -> None:
        """A message given back lets those go first that became due before it came back."""
        queue = prefix + "queue"
        message = self.claimed(storage, queue, id="often")
        storage.deferred.schedule(queue, "patient", due=timedelta(seconds=-1))
        storage.deferred.release(message)
        ids: list[str] = []
        while len(ids) < 2:
            (found,) = self.eventually(lambda: storage.deferred.claim(queue, lease=HOUR), "a claim")
            ids.append(found.id)
        assert ids == ["patient", "often"]

    def test_leases_extended_last_longer(self, storage: Storage, prefix: str) -> None:
        """The token stays good, the attempt is the same, and the new end counts from now."""
        queue = prefix + "queue"
        message = self.claimed(storage, queue, timedelta(minutes=5))
        storage.deferred.extend(message, timedelta(days=3))
        (listed,) = storage.deferred.scan(queue)
        assert listed.visible - message.visible > timedelta(days=2)
        assert (listed.token, listed.attempt) == (message.token, 1)
        assert storage.deferred.claim(queue) == []
        storage.deferred.acknowledge(message)

    def test_leases_extended_may_be_shortened(self, storage: Storage, prefix: str) -> None:
        """An extension sets the end, so it may also bring it nearer."""
        queue = prefix + "queue"
        message = self.claimed(storage, queue)
        storage.deferred.extend(message, SHORT)
        assert self.taken_over(storage, queue).attempt == 2

    def test_leases_that_ended_hold_until_another_claim(
        self, storage: Storage, prefix: str
    ) -> None:
        """The latest token is the one that counts: late work nobody else began is not lost."""
        queue = prefix + "queue"
        message = self.claimed(storage, queue, timedelta(microseconds=1))
        storage.deferred.acknowledge(message)
        assert list(storage.deferred.scan(queue)) == []

    def test_leases_count_every_attempt(self, storage: Storage, prefix: str) -> None:
        """Attempts go up by one with each claim, whatever ended the one before."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST)
        attempts, tokens = [], set()
        for number in range(6):
            (message,) = self.eventually(
                lambda: storage.deferred.claim(queue, limit=5, lease=SHORT), "a claim"
            )
            attempts.append(message.attempt)
            tokens.add(message.token)
            if number % 2:
                storage.deferred.release(message)
        assert attempts == [1, 2, 3, 4, 5, 6]
        assert len(tokens) == 6
