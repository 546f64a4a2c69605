"""What went to a thread, told from within the combiner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from statekeep.combining.combiner import Combiner


@contextmanager
def handed_to_threads() -> Iterator[list[str]]:
    """The lanes of which a thread had to carry a batch, one for each batch."""
    lanes: list[str] = []
    hand = Combiner._hand

    def noting(self: Combiner, job: Any) -> None:
        lanes.append(type(job[0]).__name__)
        hand(self, job)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Combiner, "_hand", noting)
        yield lanes
