"""A process that copies: `python -m tests.migration.mover SOURCE TARGET CHECKPOINT [BATCH]`.

SOURCE and TARGET are configs as JSON. After each portion it writes a line with the number of
records so far, and at its end the most memory that it had, in bytes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import statekeep
from statekeep import migration
from statekeep.migration import Checkpoint, Pair, Progress


def copy(source: Mapping[str, Any], target: Mapping[str, Any], path: Path, batch: int) -> None:
    """Copies, with a checkpoint, and reports."""

    def watch(progress: Progress) -> None:
        print(progress.total.records, flush=True)

    checkpoint = Checkpoint.at(path, Pair("source", "target"))
    with statekeep.open(source) as ours, statekeep.open(target) as theirs:
        migration.copy(
            ours.backend, theirs.backend, checkpoint=checkpoint, batch=batch, watch=watch
        )
    print("peak", peak(Path("/proc/self/status").read_text()), flush=True)


def peak(status: str) -> int:
    """The most memory that a process had, of its /proc/PID/status."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def start(
    source: Mapping[str, Any], target: Mapping[str, Any], path: Path, batch: int = 100
) -> subprocess.Popen[str]:
    """Starts such a process."""
    arguments = [json.dumps(source), json.dumps(target), str(path), str(batch)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.migration.mover", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


if __name__ == "__main__":
    copy(json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
