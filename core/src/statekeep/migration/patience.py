"""Calls that are repeated while a store is away: everything a move does may be done twice."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import TypeVar

from attrs import field, frozen

from statekeep.errors import OutcomeUnknown, Unavailable

T = TypeVar("T")

log = logging.getLogger("statekeep.migration")

FIRST_DELAY = 0.05
LONGEST_DELAY = 5.0
"""Seconds between tries; each delay doubles the one before, less a random part of it."""

TOLD_DELAY = 0.5
"""Who waits for longer than this between two tries is told why: what is over sooner is no news."""

TRANSIENT = (Unavailable, OutcomeUnknown)
"""After these a call is repeated: what a move writes comes out the same however often it is
written, so also a write whose answer was lost."""

DEFAULT_PATIENCE = timedelta(seconds=60)


class Stopped(Exception):
    """The move was stopped while this call waited for its next try."""


@frozen
class Patience:
    """How long a store may be away.

    Attributes:
        limit: counted from the first failure of a call; zero repeats nothing.
        stop: once set, nothing waits any longer.
    """

    limit: timedelta = DEFAULT_PATIENCE
    stop: Event = field(factory=Event)

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns, as soon as the store lets it.

        Raises:
            Unavailable, OutcomeUnknown: of the last try, when the limit has passed.
            Stopped: `stop` was set in the meantime.
        """
        end, delay, told = None, FIRST_DELAY, False
        while True:
            try:
                return function()
            except TRANSIENT as error:
                now = time.monotonic()
                end = now + self.limit.total_seconds() if end is None else end
                if now + delay > end:
                    error.add_note(f"given up after {self.limit.total_seconds():g} s")
                    raise
                if delay > TOLD_DELAY and not told:
                    log.warning("asking again for up to %.0f s: %s", end - now, error)
                    told = True
            if self.stop.wait(delay * random.uniform(0.5, 1)):
                raise Stopped
            delay = min(2 * delay, LONGEST_DELAY)
