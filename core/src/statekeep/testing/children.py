"""Child processes that always end, and whose failures come back with their traceback."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any, TypeVar

T = TypeVar("T")

START_SECONDS = 30.0
"""What a process may take to start and import, besides the test's own patience."""


def start(function: Callable[..., object], *arguments: object) -> BaseProcess:
    """A new Python process, which shares nothing with this one."""
    process = multiprocessing.get_context("spawn").Process(
        target=function, args=arguments, daemon=True
    )
    process.start()
    return process


def stop(process: BaseProcess) -> None:
    """Lets a process end, or ends it."""
    process.join(2.0)
    if process.is_alive():
        process.kill()
        process.join(START_SECONDS)


def _report(
    function: Callable[..., object], arguments: tuple[Any, ...], begin: Barrier, to: Connection
) -> None:
    try:
        begin.wait(START_SECONDS)  # importing takes longer than many a test
        to.send((True, function(*arguments)))
    except BaseException:
        to.send((False, traceback.format_exc()))


def run_processes(
    function: Callable[..., T], arguments: Sequence[tuple[Any, ...]], patience: float
) -> list[T]:
    """Calls the function in a process for each of the arguments, beginning together; the results.

    Raises:
        AssertionError: one failed (with its traceback), died, or did not end in time.
    """
    deadline = time.monotonic() + patience + START_SECONDS
    begin = multiprocessing.get_context("spawn").Barrier(len(arguments))
    running: list[tuple[BaseProcess, Connection]] = []
    try:
        for each in arguments:
            ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
            running.append((start(_report, function, each, begin, theirs), ours))
            theirs.close()
        results: list[T] = []
        for process, connection in running:
            assert connection.poll(max(0.0, deadline - time.monotonic())), "a process hangs"
            try:
                fine, result = connection.recv()
            except EOFError:
                process.join(START_SECONDS)
                raise AssertionError(f"a process died with code {process.exitcode}") from None
            assert fine, result
            results.append(result)
        return results
    finally:
        for process, connection in running:
            connection.close()
            stop(process)
