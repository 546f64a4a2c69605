"""What `import statekeep` adds to a program that has its three dependencies already."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import Comparison, Repeat, Side, Workshop, more

OURS = "import statekeep"
THEIRS = "import attrs, cattrs, pluggy"
TIMED = """
import time
start = time.perf_counter()
{}
print(time.perf_counter() - start)
"""


def importing(workshop: Workshop) -> Iterator[Comparison]:
    """Each import in interpreters of its own."""
    yield Comparison(
        OURS, Side(OURS, fresh(OURS)), Side(THEIRS, fresh(THEIRS)), more(100), "new interpreters"
    )


def fresh(statement: str) -> Repeat:
    """A statement, timed inside a new interpreter."""
    command = [sys.executable, "-c", TIMED.format(statement)]

    def repeat(count: int) -> float:
        return sum(
            float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(count)
        )

    return repeat
