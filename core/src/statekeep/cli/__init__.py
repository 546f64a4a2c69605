"""The command line `statekeep`, an extra: `pip install "statekeep[cli]"`.

Only the modules below this one import typer and rich, so that the core runs without them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

EXTRA = ("typer", "rich")
"""What the extra brings along."""


def main() -> int:
    """Runs the command line with the arguments of the process and returns its exit code."""
    if not all(map(find_spec, EXTRA)):
        print('run: pip install "statekeep[cli]"', file=sys.stderr)  # noqa: T201  # no rich here
        return 2
    from statekeep.cli.app import run

    return run(sys.argv[1:])
