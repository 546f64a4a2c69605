"""What the store says of itself, asked over and over: how soon it answers, and what is in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from attrs import evolve, field, frozen

from statekeep.backend import Backend, BackendStats
from statekeep.census import QueueDepth, queues
from statekeep.cli.top.exposition import Exported, added_up, exported, fetch
from statekeep.errors import StorageError, Unavailable

PROBE_KEY = "statekeep-top-probe"
"""A key that nobody writes: reading it costs the store what a read costs."""

REST = 10
"""How many times as long as a count took nobody counts: it loads the store."""


@frozen
class Counted:
    """What is in the store, when it was last counted; nothing was yet where `stats` is None.

    Attributes:
        stats: records and bytes.
        queues: how deep they are.
        at: when that was, by `time.monotonic()`.
        error: why the latest count failed; empty where it did not.
    """

    stats: BackendStats | None = None
    queues: Sequence[QueueDepth] = ()
    at: float = 0.0
    error: str = ""


@frozen(kw_only=True)
class Sample:
    """Everything at one moment.

    Attributes:
        at: by `time.monotonic()`.
        time: by the clock of this machine.
        asked: how many processes were asked for their numbers.
        ping: seconds that the store took to answer; None where it did not.
        get: seconds for a read of one key.
        counted: what is in the store.
        processes: what those that answered tell of themselves, by their addresses.
        errors: what could not be asked, and why.
    """

    at: float
    time: datetime
    asked: int = 0
    ping: float | None
    get: float | None
    counted: Counted
    processes: Mapping[str, Exported]
    errors: Sequence[str] = ()

    @property
    def exported(self) -> Exported:
        """What all processes tell together."""
        return added_up(self.processes.values())


class Counting:
    """Counts in a thread of its own: it may take long, and the view goes on meanwhile."""

    def __init__(self, backend: Backend, interval: float) -> None:
        self._backend = backend
        self._interval = interval
        self._stopped, self._tried = threading.Event(), threading.Event()
        self.latest = Counted()
        self.first: Counted | None = None
        self._thread = threading.Thread(target=self._run, name="statekeep-top", daemon=True)

    def start(self) -> None:
        """Begins with a count."""
        self._thread.start()

    def wait(self) -> None:
        """Returns when the first count is there, or has failed."""
        self._tried.wait()

    def stop(self) -> None:
        """Ends after the count under way, which nobody waits for."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            begun = time.monotonic()
            try:
                stats, found = self._backend.stats(), queues(self._backend)
                self.latest = Counted(stats, found, time.monotonic())
                self.first = self.first or self.latest
            except Exception as error:  # else `wait` would have no end, and nobody would know
                self.latest = evolve(self.latest, error=str(error) or type(error).__name__)
            self._tried.set()
            self._stopped.wait(max(self._interval, REST * (time.monotonic() - begun)))


@frozen
class Sampler:
    """Takes samples.

    Attributes:
        backend: the store.
        urls: where processes export their numbers.
        counting: what counts the records.
    """

    backend: Backend
    urls: Sequence[str]
    counting: Counting = field(eq=False)

    def sample(self) -> Sample:
        """How everything is now."""
        errors: list[str] = []
        ping = self._timed(self.backend.ping, errors)
        get = None if ping is None else self._timed(self._get, errors)
        processes = self._processes(errors)
        counted = self.counting.latest
        if counted.error:
            errors.append(f"counting: {counted.error}")
        return Sample(
            at=time.monotonic(),
            time=datetime.now(UTC),
            asked=len(self.urls),
            ping=ping,
            get=get,
            counted=counted,
            processes=processes,
            errors=tuple(dict.fromkeys(errors)),
        )

    def _get(self) -> None:
        self.backend.get_many((PROBE_KEY,))

    def _processes(self, errors: list[str]) -> dict[str, Exported]:
        found: dict[str, Exported] = {}
        for url in self.urls:
            try:
                found[url] = exported(fetch(url))
            except Unavailable as error:
                errors.append(str(error))
        return found

    @staticmethod
    def _timed(action: Callable[[], object], errors: list[str]) -> float | None:
        begun = time.perf_counter()
        try:
            action()
        except StorageError as error:
            errors.append(str(error))
            return None
        return time.perf_counter() - begun
