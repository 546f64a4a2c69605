"""The pool without a server: what no interrupt, failure or fork may do to it."""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any

import pytest
import statekeep_redis.pool
import statekeep_redis.server
from statekeep.errors import PoolTimeout, Unavailable
from statekeep.usage import PoolStats
from statekeep_redis import PoolConfig, RedisConfig
from statekeep_redis.driver import Command, Reply
from statekeep_redis.pool import Pool
from statekeep_redis.server import Server

FILES = {statekeep_redis.pool.__file__, statekeep_redis.server.__file__}


class Interrupted(BaseException):
    """What a signal's handler raises."""


class FakeLink:
    """A connection that answers with what was asked last, unless an answer is still unread."""

    def __init__(self) -> None:
        self.used = False
        self.closed = False
        self.unread = 0

    def usable(self) -> bool:
        return not self.closed

    def close(self) -> None:
        self.closed = True

    def exchange(self, commands: Any, patience: float | None = None) -> list[Reply]:
        assert not self.closed and not self.unread, "an answer of another call is waiting"
        self.unread += 1
        _between()
        self.unread -= 1
        return list(commands)


def _between() -> None:
    """Where the interrupt of a test may strike while an answer is on its way."""


def test_an_interrupt_at_any_instant_loses_nothing() -> None:
    """Wherever it strikes in pool and server, the one connection there may be is free again."""
    config = RedisConfig(host="h", timeout=300, max_total=1)
    links: list[FakeLink] = []

    def connect() -> Any:
        links.append(FakeLink())
        return links[-1]

    server = Server(config, connect, "a fake")
    command: Command = ("PING",)
    strikes = 0
    for number in range(10_000):
        if not _interrupted_at(number, lambda: server.exchange([command], write=True)):
            break
        strikes += 1
        assert server.pool.stats().in_use == 0, f"lost at instruction {number}"
        assert server.exchange([command], write=True) == [command]
        assert server.pool.stats().idle == 1
    assert strikes > 20


def _interrupted_at(number: int, call: Callable[[], object]) -> bool:
    """Whether the call was interrupted at the so-manieth place in these files where it may be."""
    left = number

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in FILES and frame.f_code is not _between.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in _checks(frame.f_code):
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise Interrupted
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        call()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


@cache
def _checks(code: CodeType) -> frozenset[int]:
    """Where CPython has just looked for signals: after calls, at a function's start, in loops."""
    found: set[int] = set()
    instructions = list(dis.get_instructions(code))
    for this, following in pairwise(instructions):
        if this.opname in ("CALL", "CALL_FUNCTION_EX", "RESUME"):
            found.add(following.offset)
        elif this.opname == "JUMP_BACKWARD":
            found.add(this.argval)
    return frozenset(found)


def test_a_place_that_nobody_holds_is_free_again() -> None:
    """Also for somebody who is waiting for it already."""
    pool: Pool[FakeLink] = Pool(FakeLink, PoolConfig(max_total=1), 5.0, "a fake")
    held = [pool.acquire()]
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(pool.acquire().link))
    waiter.start()
    while not pool.stats().waiting:
        pass
    held.clear()
    gc.collect()
    waiter.join(5)
    assert len(got) == 1


def test_what_was_closed_never_grows_less() -> None:
    """Not even while a connection is being opened: that one is neither in use nor closed yet."""
    seen: list[int] = []

    def connect() -> FakeLink:
        stats = pool.stats()
        assert stats.created - stats.closed == stats.in_use + stats.idle == 0
        seen.append(stats.closed)
        return FakeLink()

    pool = Pool[FakeLink](connect, PoolConfig(), 1.0, "h")
    for _ in range(3):
        pool.discard(pool.acquire())
    assert [*seen, pool.stats().closed] == [0, 1, 2, 3]


def test_a_connection_lent_before_a_fork_is_not_kept_by_the_child() -> None:
    """It is the parent's: the child must not hand it out, and its count stays right."""
    pool: Pool[FakeLink] = Pool(FakeLink, PoolConfig(max_total=1), 0.1, "a fake")
    place = pool.acquire()
    pool.after_fork()
    pool.release(place)
    assert pool.stats() == PoolStats(limit=1)
    other = pool.acquire()
    with pytest.raises(PoolTimeout, match="max_total"):
        pool.acquire()
    assert other.link is not place.link


def test_a_connection_that_cannot_be_opened_takes_no_place() -> None:
    """Each try fails for its own reason, and none counts as in use."""

    def connect() -> FakeLink:
        raise Unavailable("away")

    pool: Pool[FakeLink] = Pool(connect, PoolConfig(max_total=1), 0.1, "a fake")
    for _ in range(3):
        with pytest.raises(Unavailable, match="away"):
            pool.acquire()
    assert pool.stats().in_use == 0
