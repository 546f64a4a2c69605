"""python -m benchmarks.plots RESULTS PAGE: draws the charts of an earlier run again."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.plots.pages import write


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.plots", description="Draws the charts of an earlier run again."
    )
    parser.add_argument("results", type=Path, help="what a run of the benchmarks wrote as JSON")
    parser.add_argument("page", type=Path, help="with a place for charts: docs/benchmarks.md")
    options = parser.parse_args(arguments)
    files = write(options.page, json.loads(options.results.read_text()))
    print(f"{len(files)} charts")
    return 0 if files else 1


if __name__ == "__main__":
    sys.exit(main())
