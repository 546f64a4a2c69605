"""Keeps a number of worker processes alive, and kills them without warning."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from attrs import define, field

ROOT = Path(__file__).parents[2]
GRACE = 5.0
"""Seconds that workers get to end their step when the run is over."""


class WorkerFailed(Exception):
    """A worker ended although nobody killed it."""


@define
class Supervisor:
    """A team of workers; a context manager that leaves no process behind.

    Attributes:
        arguments: what every worker is started with.
        size: how many work at once.
        log: the file that takes what workers write to standard error.
        stalls: after how many batches the first workers sleep past their lease.
        kills: how many workers died by SIGKILL.
    """

    arguments: Sequence[str]
    size: int
    log: Path
    choose: random.Random
    stalls: Sequence[int] = ()
    kills: int = 0
    _started: int = 0
    _team: list[subprocess.Popen[bytes]] = field(factory=list)

    def __enter__(self) -> Supervisor:
        for _ in range(self.size):
            self._team.append(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Sees that all workers are alive.

        Raises:
            WorkerFailed: one has ended by itself.
        """
        for process in self._team:
            if (code := process.poll()) is not None:
                said = self.log.read_text(errors="replace").strip() or "it said nothing"
                raise WorkerFailed(f"a worker ended with exit code {code}:\n{said[-4000:]}")

    def kill_one(self) -> None:
        """Kills a worker at random, wherever it is, and starts another in its place."""
        place = self.choose.randrange(len(self._team))
        process = self._team[place]
        process.kill()
        if process.wait() == -signal.SIGKILL:
            self.kills += 1
        self._team[place] = self._start()

    def stop(self) -> None:
        """Ends all workers: those that do not end by themselves are killed."""
        for process in self._team:
            process.terminate()
        for process in self._team:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._team.clear()

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        command = [sys.executable, "-m", "examples.orders.worker", *self.arguments]
        command += ["--name", f"worker-{self._started}", "--parent", str(os.getpid())]
        if self._started <= len(self.stalls):
            command += ["--stall-after", str(self.stalls[self._started - 1])]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C reaches only us, and we stop them in good order
            )
