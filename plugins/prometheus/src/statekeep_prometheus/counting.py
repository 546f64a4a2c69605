"""Records and bytes, counted in the background: counting reads the store, a scrape must not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from attrs import evolve, field, frozen
from statekeep import fork
from statekeep.backend import KindStats
from statekeep.model import RecordKind
from statekeep.observer import Watched

logger = logging.getLogger(__name__)

LARGEST_PART = 0.05
"""Counting a large store takes long: it rests until this is the part of the time that it takes."""

PATIENCE = 1.0
"""Seconds that closing waits for a count under way. It then ends by itself, as the storage that
it reads is closed next."""


@frozen(kw_only=True)
class Counted:
    """What was counted last.

    Attributes:
        at: when that was, in seconds since 1970; None where no count has succeeded.
        seconds: how long it took.
        kinds: records and bytes by kind.
        stored_bytes: what the store occupies, where it can tell.
        failures: how many counts failed so far.
    """

    at: float | None = None
    seconds: float = 0.0
    kinds: Mapping[RecordKind, KindStats] = field(factory=dict)
    stored_bytes: int | None = None
    failures: int = 0


class Counting:
    """A thread that counts at once and then every `interval` seconds; none where that is 0."""

    def __init__(self, watched: Watched, interval: float) -> None:
        self._watched = watched
        self._interval = interval
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.counted: Counted | None = None if interval == 0 else Counted()
        fork.register(self)

    def start(self) -> None:
        """Begins to count."""
        if self._interval:
            name = f"statekeep-prometheus-count-{self._watched.backend_name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def after_fork(self) -> None:
        """A child does not count what its parent counts already."""
        self._thread, self.counted = None, None

    def _run(self) -> None:
        while not self._stopped.wait(self._count()):
            pass

    def _count(self) -> float:
        """Counts once; seconds to the next time."""
        before = self.counted or Counted()
        begun = time.monotonic()
        try:
            stats = self._watched.stats()
        except Exception as error:  # the next count may succeed; a thread that ended would not tell
            if not self._stopped.is_set():
                logger.warning("counting the records of %s: %s", self._watched.target, error)
                self.counted = evolve(before, failures=before.failures + 1)
            return self._interval
        took = time.monotonic() - begun
        self.counted = Counted(
            at=time.time(),
            seconds=took,
            kinds=stats.kinds,
            stored_bytes=stats.stored_bytes,
            failures=before.failures,
        )
        return max(self._interval, took / LARGEST_PART)
