"""Calls that go on while a password changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from statekeep import AccessDenied, OutcomeUnknown, Storage, Unavailable

from tests.operations.writer import Writer

SOME = 50


class Calls(Writer):
    """Puts and reads.

    A call that an ended connection interrupts may fail as such; a password that was not taken is
    something else, and counted.

    Attributes:
        refused: calls that ended in AccessDenied.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._storage = storage
        self.refused = 0

    def step(self) -> bool:
        """One put and one get."""
        try:
            self._storage.values.put("rotation", b"%d" % self.done)
            self._storage.values.get("rotation")
        except AccessDenied:
            self.refused += 1
        except (Unavailable, OutcomeUnknown):
            pass
        else:
            return True
        time.sleep(0.01)
        return False


def rotate(
    storage: Storage, change: Callable[[], object], secret: Path, end: Callable[[], object]
) -> None:
    """A password changes under calls, none of which is refused.

    Args:
        storage: it reads the password from the file.
        change: changes it at the server, which then knows the new one only.
        secret: the file.
        end: ends all connections of the storage.
    """
    with Calls(storage) as calls:
        calls.progress(SOME)
        change()
        calls.progress(SOME)  # over the connection that is open
        secret.write_text("new-secret\n")
        end()
        calls.progress(SOME)
    assert not calls.refused
