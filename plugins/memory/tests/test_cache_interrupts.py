"""An interrupt wherever Python allows one in a change leaves a cache that works."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType
from typing import Any

import pytest
from statekeep_memory import cache as module
from statekeep_memory.cache import MemoryCache
from statekeep_memory.config import MemoryCacheConfig


class Interrupted(BaseException):
    """What Ctrl-C would raise."""


@cache
def interruptible(code: CodeType) -> frozenset[int]:
    """Before which bytecodes a signal can be handled: after calls, at the start, in loops."""
    found, after = set(), False
    for instruction in dis.get_instructions(code):
        if after:
            found.add(instruction.offset)
        after = instruction.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
    return frozenset(found)


def interrupt_at(number: int, work: Callable[[], object]) -> bool:
    """Runs the work, interrupted at the place of that number; False where it has fewer."""
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in interruptible(frame.f_code):
            if left == 0:
                sys.settrace(None)
                raise Interrupted
            left -= 1
        return trace

    sys.settrace(trace)
    try:
        work()
    except Interrupted:
        return True
    finally:
        sys.settrace(None)
    return False


def filled() -> MemoryCache:
    cache = MemoryCache(MemoryCacheConfig(maximum_size=4, maximum_bytes=40))
    for number in range(4):
        cache.put(f"key{number}", number, 10)
        cache.get(f"key{number}")
    return cache


CHANGES: list[Callable[[MemoryCache], object]] = [
    lambda cache: cache.put("new", "value", 10),
    lambda cache: cache.put("key1", "value", 20),
    lambda cache: cache.discard("key2"),
    lambda cache: cache.clear(),
]


@pytest.mark.parametrize("change", CHANGES, ids=["put", "replace", "discard", "clear"])
def test_a_change_interrupted_anywhere_leaves_a_cache_that_works(
    change: Callable[[MemoryCache], object],
) -> None:
    number = 0
    while True:
        filling = filled()
        if not interrupt_at(number, lambda held=filling: change(held)):  # type: ignore[misc]
            break
        number += 1
        for again in range(20):  # evicts all that was there
            filling.put(f"other{again}", again, 10)
        filling.discard("other0")
        filling.put("key1", "last", 10)
        assert filling.get("key1") == "last"
        found = filling.stats()
        assert found.size <= 4 and found.bytes == 10 * found.size, (number, found)
    assert number > 5  # it was interrupted, and in many places
