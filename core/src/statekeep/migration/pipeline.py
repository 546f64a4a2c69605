"""One thread that reads and several that write, with little between them, acknowledged in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

from statekeep.migration.selection import Item, name_of
from statekeep.model import DeferredMessage, KeyValueRecord

MOST_BYTES = 16 * 2**20
"""Bytes that may wait or be under way, beside one portion."""


class Sized(Protocol):
    """What has a size in bytes, and holds records."""

    @property
    def items(self) -> Sequence[Item]:
        """The records."""

    @property
    def bytes(self) -> int:
        """Of its contents."""


P = TypeVar("P", bound=Sized)
R = TypeVar("R")


def pipeline(
    portions: Iterable[P], work: Callable[[P], R], workers: int, stop: Event
) -> Generator[tuple[P, R], None, None]:
    """Does the work of each portion in one of several threads, and yields them in their order.

    What is yielded is done, and so is all that came before it. The portions are read in the
    thread that iterates, while the others work. A portion with a record whose name is also in one
    that is under way waits for that one: a source may give a record twice, the newer one later.

    Args:
        portions: what is to be done.
        work: does it; its error ends the iteration, once what is under way has ended.
        workers: threads.
        stop: set when the iteration ends early, so that no worker goes on waiting.
    """
    waiting: deque[tuple[P, Future[R]]] = deque()
    under_way = 0
    names: set[object] = set()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="statekeep-move")

    def finished() -> tuple[P, R]:
        nonlocal under_way
        first, future = waiting.popleft()
        result = future.result()
        under_way -= first.bytes
        names.difference_update(_names(first))
        return first, result

    try:
        for portion in portions:
            ours = _names(portion)
            while not names.isdisjoint(ours):
                yield finished()
            names |= ours
            under_way += portion.bytes
            waiting.append((portion, pool.submit(work, portion)))
            while waiting and (
                waiting[0][1].done() or len(waiting) > 2 * workers or under_way > MOST_BYTES
            ):
                yield finished()
        while waiting:
            yield finished()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _names(portion: Sized) -> set[object]:
    """Of its values and messages: members are only added to sets, in whatever order."""
    return {
        name_of(item)
        for item in portion.items
        if isinstance(item, KeyValueRecord | DeferredMessage)
    }
