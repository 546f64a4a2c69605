"""A fork in the middle of another thread's transaction copies all of it or nothing."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from statekeep.model import Committed, Put, Transaction
from statekeep_memory.backend import MemoryBackend

KEYS = [f"key{number}" for number in range(200)]
FORKS = 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_has_no_half_of_a_transaction() -> None:
    backend = MemoryBackend()
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            value = b"%d" % number
            (outcome,) = backend.commit([Transaction(tuple(Put(key, value) for key in KEYS))])
            assert isinstance(outcome, Committed)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        results = [_values_in_a_child(backend) for _ in range(FORKS)]
    finally:
        over.set()
        writer.join()
        sys.setswitchinterval(interval)
    assert results == [1] * FORKS


def _values_in_a_child(backend: MemoryBackend) -> int:
    """How many different values the keys have in a child."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(max(1, len({entry.value for entry in backend.get_many(KEYS).values()})))
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
