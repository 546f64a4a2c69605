"""Everything that registered is told of a fork, whatever registers meanwhile."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from statekeep import fork


class Told:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.before = self.parent = self.child = 0

    def before_fork(self) -> None:
        self.before += 1

    def after_fork_in_parent(self) -> None:
        self.parent += 1

    def after_fork(self) -> None:
        self.child += 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_all_are_told_while_others_register() -> None:
    pausing, plain = [[Told() for _ in range(3_000)] for _ in range(2)]
    for each in pausing:
        fork.register_pausing(each)
    for each in plain:
        fork.register(each)
    over = threading.Event()

    def register() -> None:
        while not over.is_set():
            fork.register_pausing(Told())
            fork.register(Told())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=register)
    thread.start()
    forks = 50
    try:
        for number in range(1, forks + 1):
            child = os.fork()
            if child == 0:
                told = all(each.child == 1 for each in (*pausing, *plain))
                os._exit(0 if told and all(each.before == number for each in pausing) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert [(each.before, each.parent, each.child) for each in pausing] == [
        (forks, forks, 0)
    ] * 3_000
