"""Forks: a child goes on using the storage it inherited, and neither disturbs the other."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable

import pytest

from statekeep.storage import Storage
from statekeep.testing.support import Kit


def in_child(function: Callable[[], None], patience: float) -> None:
    """Runs the function in a forked child.

    Raises:
        AssertionError: it raised something (with its traceback), or did not end in time.
    """
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads: on purpose
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_end)
            function()
            status = 0
        except BaseException:
            os.write(write_end, traceback.format_exc().encode()[-3000:])
        finally:
            os._exit(status)
    os.close(write_end)
    try:
        status = _wait(pid, patience)
        error = os.read(read_end, 4096).decode(errors="replace")
    finally:
        os.close(read_end)
    assert status == 0, f"the forked child failed: {error or status}"


def _wait(pid: int, patience: float) -> int:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"the forked child hung for {patience} s")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
class ForksTests(Kit):
    """Section 3.11 of the contract."""

    def test_forks_leave_the_child_a_working_storage(self, storage: Storage, prefix: str) -> None:
        """The child reads what was there, writes and reads its own; the parent goes on."""
        storage.values.put(prefix + "parent", b"1")

        def child() -> None:
            entry = storage.values.get(prefix + "parent")
            assert entry is not None and entry.value == b"1"
            with storage.transaction() as tx:
                tx.put(prefix + "child", b"2")
                tx.add(prefix + "set", b"child")
            assert storage.sets.members(prefix + "set") == {b"child"}

        for _ in range(2):
            in_child(child, self.patience)
            storage.values.put(prefix + "after", b"3")
        shared = storage.capabilities.shared
        assert (storage.values.get(prefix + "child") is not None) is shared
        assert bool(storage.sets.members(prefix + "set")) is shared

    def test_forks_while_threads_work_do_not_hang(self, storage: Storage, prefix: str) -> None:
        """A fork at any instant, with a lock or a connection in use, leaves the child able."""
        stop = threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                storage.values.put(prefix + "busy", b"x")
                storage.values.get(prefix + "busy")

        def fork() -> None:
            try:
                for number in range(8):
                    in_child(lambda n=number: use(n), self.patience)  # type: ignore[misc]
            finally:
                stop.set()

        def use(number: int) -> None:
            storage.values.put(f"{prefix}{number}", b"")
            assert storage.values.get(f"{prefix}{number}") is not None

        self.in_threads(hammer, hammer, fork)
        assert storage.values.get(prefix + "busy") is not None

    def test_forks_may_close_their_copy(self, storage: Storage, prefix: str) -> None:
        """A child that closes the storage takes nothing from the parent."""
        storage.values.put(prefix + "key", b"1")
        in_child(storage.close, self.patience)
        entry = storage.values.get(prefix + "key")
        assert entry is not None and entry.value == b"1"
        storage.values.put(prefix + "key", b"2")
