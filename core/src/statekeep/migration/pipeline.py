"""One thread that reads and several that write, with little between them, acknowledged in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

MOST_BYTES = 16 * 2**20
"""Bytes that may wait or be under way, beside one portion."""


class Sized(Protocol):
    """What has a size in bytes."""

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
    thread that iterates, while the others work.

    Args:
        portions: what is to be done.
        work: does it; its error ends the iteration, once what is under way has ended.
        workers: threads.
        stop: set when the iteration ends early, so that no worker goes on waiting.
    """
    waiting: deque[tuple[P, Future[R]]] = deque()
    under_way = 0
    pool = ThreadPoolExecutor(workers, thread_name_prefix="statekeep-move")
    try:
        for portion in portions:
            under_way += portion.bytes
            waiting.append((portion, pool.submit(work, portion)))
            while waiting and (
                waiting[0][1].done() or len(waiting) > 2 * workers or under_way > MOST_BYTES
            ):
                first, future = waiting.popleft()
                result = future.result()
                under_way -= first.bytes
                yield first, result
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
