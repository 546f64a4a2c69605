"""Writers that go on while a password changes."""

from __future__ import annotations

import threading
import time

from statekeep import AccessDenied, OutcomeUnknown, Storage, Unavailable

PATIENCE = 30.0


class Calls:
    """A thread that puts and reads for the length of a block.

    A call that an ended connection interrupts may fail as such; a password that was not taken is
    something else, and counted.

    Attributes:
        done: calls that succeeded.
        refused: calls that ended in AccessDenied.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0
        self.refused = 0
        self._failure: BaseException | None = None

    def __enter__(self) -> Calls:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        assert self._failure is None, self._failure

    def progress(self, count: int) -> None:
        """Waits until so many more calls succeeded."""
        goal, deadline = self.done + count, time.monotonic() + PATIENCE
        while self.done < goal:
            assert time.monotonic() < deadline, f"no progress; {self._failure!r}"
            time.sleep(0.005)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._call()
        except BaseException as error:
            self._failure = error

    def _call(self) -> None:
        try:
            self._storage.values.put("rotation", b"%d" % self.done)
            self._storage.values.get("rotation")
        except AccessDenied:
            self.refused += 1
            time.sleep(0.01)
        except (Unavailable, OutcomeUnknown):
            time.sleep(0.01)
        else:
            self.done += 1
