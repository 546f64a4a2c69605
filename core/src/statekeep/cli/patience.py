"""What is waited for, but not for ever: for stores that accept a call and then say nothing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from attrs import frozen

T = TypeVar("T")


class TooSlow(Exception):
    """One step took longer than it may; the thread that waits for it is left behind."""


@frozen
class _End:
    error: BaseException | None = None


def steps(work: Callable[[], Iterable[T]], seconds: float) -> Iterator[T]:
    """What `work` yields, each thing within so many seconds; its exceptions are raised here.

    It runs in a thread of its own, which ends with the process: a call into a driver cannot be
    interrupted from outside. After an interrupt (Ctrl-C) it may still end what it began, and so
    clean up what it tried.

    Raises:
        TooSlow: the next thing did not come in time.
    """
    made: queue.SimpleQueue[T | _End] = queue.SimpleQueue()

    def run() -> None:
        try:
            for each in work():
                made.put(each)
            made.put(_End())
        except BaseException as error:
            made.put(_End(error))

    thread = threading.Thread(target=run, name="statekeep-doctor", daemon=True)
    thread.start()
    while True:
        try:
            found = made.get(timeout=seconds)
        except queue.Empty:
            raise TooSlow(f"no answer within {seconds:g} s") from None
        except KeyboardInterrupt:
            thread.join(seconds)
            raise
        if not isinstance(found, _End):
            yield found
            continue
        if found.error is not None:
            raise found.error
        return


def within(call: Callable[[], T], seconds: float) -> T:
    """What a call returns, within so many seconds.

    Raises:
        TooSlow: it did not.
    """
    (found,) = steps(lambda: [call()], seconds)
    return found
