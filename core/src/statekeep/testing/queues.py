"""Queues of deferred messages: when they are delivered, in which order, and what moves them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from statekeep.clock import to_micros
from statekeep.errors import InvalidArgument
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, SHORT, Clocked, Kit

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)


class QueuesTests(Kit):
    """Section 3.8 of the contract, for what is scheduled."""

    def test_queues_deliver_what_is_due(self, storage: Storage, prefix: str) -> None:
        """A claimed message is what was scheduled, with a token, at its first attempt."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=LONG_AGO, payload=b"payload")
        before = datetime.now(UTC)
        (message,) = storage.deferred.claim(queue, lease=timedelta(days=7))
        assert (message.queue, message.id, message.payload) == (queue, "id", b"payload")
        assert message.due == LONG_AGO and message.due.utcoffset() is not None
        assert message.token and message.attempt == 1
        assert message.visible > before + timedelta(days=5)

    def test_queues_keep_a_due_time_to_the_microsecond(self, storage: Storage, prefix: str) -> None:
        """Whatever the time zone and however far, the moment comes back exactly."""
        queue = prefix + "queue"
        moments = {
            "old": datetime(1971, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
            "zone": LONG_AGO.astimezone(timezone(timedelta(hours=5, minutes=45))),
            "far": datetime(2200, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        }
        for id, due in moments.items():
            storage.deferred.schedule(queue, id, due=due)
        assert {message.id: message.due for message in storage.deferred.scan(queue)} == moments

    def test_queues_hold_back_what_is_not_due(self, storage: Storage, prefix: str) -> None:
        """A message in the future is listed but not handed out."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "relative", due=HOUR)
        storage.deferred.schedule(queue, "absolute", due=datetime.now(UTC) + timedelta(days=2))
        assert storage.deferred.claim(queue, limit=10) == []
        assert {message.id for message in storage.deferred.scan(queue)} == {"relative", "absolute"}

    def test_queues_deliver_as_time_goes_by(self, storage: Storage, prefix: str) -> None:
        """What falls due later is delivered later, without anybody touching it."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "soon", due=timedelta(milliseconds=200))
        early = storage.deferred.claim(queue)
        found = early or self.eventually(lambda: storage.deferred.claim(queue), "delivery")
        assert [message.id for message in found] == ["soon"]
        assert found[0].visible > found[0].due

    def test_queues_count_a_timedelta_from_the_servers_now(
        self, storage: Storage, prefix: str
    ) -> None:
        """A relative due time is near this machine's clock plus it (a day of skew is let pass)."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=timedelta(days=10))
        (message,) = storage.deferred.scan(queue)
        delay = message.due - datetime.now(UTC)
        assert timedelta(days=9) < delay < timedelta(days=11)

    def test_queues_live_by_the_servers_clock(self, clocked: Clocked | None, prefix: str) -> None:
        """Relative due times, leases and delays all count from the backend's now, not from ours."""
        if clocked is None:
            pytest.skip("the backend's clock cannot be set")
        now, queue = LONG_AGO, prefix + "queue"
        with Storage(clocked(lambda: to_micros(now))) as storage:
            storage.deferred.schedule(queue, "id", due=HOUR)
            assert storage.deferred.claim(queue) == []
            now += HOUR
            (message,) = storage.deferred.claim(queue, lease=HOUR)
            assert (message.due, message.visible) == (now, now + HOUR)
            assert storage.deferred.claim(queue) == []
            now += HOUR
            (message,) = storage.deferred.claim(queue, lease=HOUR)
            storage.deferred.release(message, delay=2 * HOUR)
            assert [found.visible for found in storage.deferred.scan(queue)] == [now + 2 * HOUR]

    def test_queues_deliver_earliest_due_first(self, storage: Storage, prefix: str) -> None:
        """The order is that of the due times, neither of the ids nor of the scheduling."""
        queue = prefix + "queue"
        for id, seconds in {"b": 3, "d": 1, "a": 2, "e": 5, "c": 4}.items():
            storage.deferred.schedule(queue, id, due=LONG_AGO + timedelta(seconds=seconds))
        first = storage.deferred.claim(queue, limit=2, lease=HOUR)
        rest = storage.deferred.claim(queue, limit=10, lease=HOUR)
        assert [message.id for message in first + rest] == ["d", "a", "b", "c", "e"]

    def test_queues_order_by_microseconds(self, storage: Storage, prefix: str) -> None:
        """Two due times a microsecond apart are not the same time."""
        queue = prefix + "queue"
        for number in (5, 2, 4, 1, 3):
            due = LONG_AGO + timedelta(microseconds=number)
            storage.deferred.schedule(queue, str(number), due=due)
        claimed = storage.deferred.claim(queue, limit=10, lease=HOUR)
        assert [message.id for message in claimed] == ["1", "2", "3", "4", "5"]

    def test_queues_keep_messages_of_one_moment_apart(self, storage: Storage, prefix: str) -> None:
        """Any number of messages may be due at one moment."""
        queue = prefix + "queue"
        for number in range(20):
            storage.deferred.schedule(queue, str(number), due=LONG_AGO, payload=b"%d" % number)
        claimed = storage.deferred.claim(queue, limit=5, lease=HOUR)
        claimed += storage.deferred.claim(queue, limit=100, lease=HOUR)
        assert {message.id: message.payload for message in claimed} == {
            str(number): b"%d" % number for number in range(20)
        }
        assert len({message.token for message in claimed}) == len(claimed) == 20

    def test_queues_hand_out_no_more_than_the_limit(self, storage: Storage, prefix: str) -> None:
        """A claim takes up to its limit; the rest stays for the next one."""
        queue = prefix + "queue"
        for number in range(7):
            storage.deferred.schedule(queue, str(number), due=PAST)
        sizes = [len(storage.deferred.claim(queue, limit=3, lease=HOUR)) for _ in range(4)]
        assert sizes == [3, 3, 1, 0]

    def test_queues_are_separate(self, storage: Storage, prefix: str) -> None:
        """The same id in two queues is two messages; a queue shows and hands out its own."""
        for queue in ("queue", "queue/", "queue2", "queu", "Queue"):
            storage.deferred.schedule(prefix + queue, "id", due=PAST, payload=queue.encode())
        assert [m.payload for m in storage.deferred.scan(prefix + "queue")] == [b"queue"]
        claimed = storage.deferred.claim(prefix + "queue", limit=10, lease=HOUR)
        assert [message.payload for message in claimed] == [b"queue"]
        storage.deferred.acknowledge(claimed[0])
        assert [m.payload for m in storage.deferred.scan(prefix + "queue2")] == [b"queue2"]
        assert list(storage.deferred.scan(prefix + "que")) == []

    def test_queues_move_what_is_scheduled_again(self, storage: Storage, prefix: str) -> None:
        """The same id again replaces due time and payload, to later and to sooner."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "id", due=PAST, payload=b"1")
        storage.deferred.schedule(queue, "id", due=HOUR, payload=b"2")
        assert storage.deferred.claim(queue) == []
        storage.deferred.schedule(queue, "id", due=LONG_AGO, payload=b"3")
        claimed = storage.deferred.claim(queue, limit=10, lease=HOUR)
        assert [(m.due, m.payload, m.attempt) for m in claimed] == [(LONG_AGO, b"3", 1)]

    def test_queues_deliver_once_what_was_scheduled_twice(
        self, storage: Storage, prefix: str
    ) -> None:
        """Scheduled twice for the same moment, a message is one message in one claim."""
        queue = prefix + "queue"
        for _ in range(3):
            storage.deferred.schedule(queue, "id", due=LONG_AGO)
        assert len(storage.deferred.claim(queue, limit=10, lease=HOUR)) == 1
        assert storage.deferred.claim(queue, limit=10, lease=HOUR) == []

    def test_queues_forget_what_is_cancelled(self, storage: Storage, prefix: str) -> None:
        """cancel() says whether the message was there, and it is not delivered."""
        queue = prefix + "queue"
        assert storage.deferred.cancel(queue, "id") is False
        storage.deferred.schedule(queue, "id", due=PAST)
        storage.deferred.schedule(queue, "other", due=PAST)
        assert storage.deferred.cancel(queue, "id") is True
        assert storage.deferred.cancel(queue, "id") is False
        assert [m.id for m in storage.deferred.claim(queue, limit=10)] == ["other"]

    def test_queues_list_due_and_waiting_and_held(self, storage: Storage, prefix: str) -> None:
        """scan() shows all messages of the queue, with what a claim did to them."""
        queue = prefix + "queue"
        storage.deferred.schedule(queue, "held", due=LONG_AGO, payload=b"h")
        (held,) = storage.deferred.claim(queue, lease=HOUR)
        storage.deferred.schedule(queue, "due", due=PAST)
        storage.deferred.schedule(queue, "waiting", due=HOUR)
        listed = {message.id: message for message in storage.deferred.scan(queue)}
        assert set(listed) == {"held", "due", "waiting"}
        assert listed["held"] == held
        assert (listed["due"].token, listed["due"].attempt) == ("", 0)
        assert listed["waiting"].visible == listed["waiting"].due

    def test_queues_are_asked_for_messages_by_name(self, storage: Storage, prefix: str) -> None:
        """Held, waiting and due ones come as a scan shows them; absent names are left out."""
        queue, other = prefix + "queue", prefix + "other"
        for id in ("a", "ab", "abc", "held"):
            storage.deferred.schedule(queue, id, due=HOUR, payload=id.encode())
        storage.deferred.schedule(other, "a", due=PAST, payload=b"of the other queue")
        storage.deferred.schedule(queue, "held", due=PAST, payload=b"held")
        storage.deferred.claim(queue, lease=HOUR)
        there = {message.name: message for message in storage.deferred.scan(queue)}
        there |= {message.name: message for message in storage.deferred.scan(other)}
        names = [(queue, "ab"), (other, "a"), (queue, "held"), (other, "ab"), (queue, "hel")]
        found = storage.backend.messages_many(names)
        assert found == {name: there[name] for name in names[:3]}
        assert storage.backend.messages_many([]) == {}

    @pytest.mark.parametrize(
        "due",
        [
            datetime(2030, 1, 1),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            timedelta(days=40_000),
            5,
            "now",
            None,
        ],
    )
    def test_queues_refuse_a_due_time_that_makes_no_sense(
        self, storage: Storage, prefix: str, due: Any
    ) -> None:
        """Without a time zone, over a century away, no time at all: InvalidArgument."""
        with pytest.raises(InvalidArgument):
            storage.deferred.schedule(prefix + "queue", "id", due=due)

    @pytest.mark.parametrize("limit", [0, -1, 10_001, True, "1"])
    def test_queues_refuse_a_claim_that_makes_no_sense(
        self, storage: Storage, prefix: str, limit: Any
    ) -> None:
        """A claim takes 1 to 10000 messages, for a lease above zero."""
        with pytest.raises(InvalidArgument):
            storage.deferred.claim(prefix + "queue", limit=limit)
        for lease in (timedelta(0), -SHORT, 5, None):
            with pytest.raises(InvalidArgument):
                storage.deferred.claim(prefix + "queue", lease=lease)  # type: ignore[arg-type]
