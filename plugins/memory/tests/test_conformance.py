"""The conformance kit on the memory backend."""

from __future__ import annotations

import pytest
from statekeep.backend import Backend
from statekeep.testing import BackendConformance
from statekeep.testing.support import Clocked, Opener
from statekeep_memory.backend import MemoryBackend


def open_memory() -> Backend:
    """A new memory backend: each is a store of its own."""
    return MemoryBackend()


class TestMemory(BackendConformance):
    """Everything but `shared` and `durable`, which memory does not declare."""

    stateful_examples = 400

    @pytest.fixture
    def opener(self) -> Opener:
        return open_memory

    @pytest.fixture
    def clocked(self) -> Clocked | None:
        return MemoryBackend
