"""A thread that does the same again and again while something happens to the database."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TypeVar

T = TypeVar("T", bound="Writer")

PATIENCE = 60.0


class Writer(ABC):
    """Takes steps for the length of a block.

    Attributes:
        done: steps that succeeded.
    """

    def __init__(self) -> None:
        self.done = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._failure: BaseException | None = None

    @abstractmethod
    def step(self) -> bool:
        """One step; whether it succeeded. What it raises fails the block."""

    def __enter__(self: T) -> T:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._thread.join(PATIENCE)
        assert any(error) or self._failure is None, repr(self._failure)

    def progress(self, count: int) -> int:
        """Waits until so many more steps succeeded; how many that are in all."""
        goal, end = self.done + count, time.monotonic() + PATIENCE
        while self.done < goal:
            assert time.monotonic() < end, f"no progress: {self._failure!r}"
            time.sleep(0.005)
        return self.done

    def _go(self) -> None:
        try:
            while not self._enough.is_set():
                self.done += self.step()
        except BaseException as error:
            self._failure = error
