"""python -m benchmarks.growth [STORE ...] [--most KEYS] [--json FILE] [--markdown PAGE]."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.__main__ import RESULTS
from benchmarks.growth import report
from benchmarks.growth.run import Growth, Step, measure
from benchmarks.growth.stores import STORES
from benchmarks.growth.timing import Pace

STEPS = (10_000, 100_000, 1_000_000, 10_000_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.stores) - set(STORES))
    if unknown:
        parser.error(f"no store is called {', '.join(unknown)}")
    documents = [report.read_json(path) for path in options.of]
    if not documents:
        path = options.json or RESULTS / f"growth-{datetime.now():%Y%m%d-%H%M%S}.json"
        documents = [_run(options.stores or list(STORES), options.most, path)]
    for store in chain.from_iterable(each.stores for each in documents):
        print(*report.table(store), sep="\n")
    if options.markdown:
        report.write_markdown(options.markdown, documents)
    return 0


def _run(stores: Sequence[str], most: int, path: Path) -> report.Document:
    """Measures, and writes after each step: the last ones take long."""
    numbers = [keys for keys in STEPS if keys <= max(most, STEPS[0])]
    found: dict[str, tuple[Step, ...]] = {}
    RESULTS.mkdir(exist_ok=True)  # rather than in /tmp, which may be memory
    for store in stores:
        with TemporaryDirectory(dir=RESULTS) as folder:
            for step in measure(store, Path(folder), numbers, Pace(), _teller()):
                found[store] = (*found.get(store, ()), step)
                content = report.document([Growth(*each) for each in found.items()])
                report.write_json(path, content)
    return content


def _teller() -> Callable[[str], None]:
    start = time.perf_counter()

    def tell(what: str) -> None:
        print(f"{time.perf_counter() - start:6.0f} s  {what}", file=sys.stderr, flush=True)

    return tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.growth",
        description="The same calls while a storage grows to ten million keys.",
    )
    parser.add_argument(
        "stores", nargs="*", metavar="STORE", help=f"of {', '.join(STORES)}; without: both"
    )
    parser.add_argument(
        "--most", type=int, metavar="KEYS", default=STEPS[-1], help="where to stop, 10000 at least"
    )
    parser.add_argument("--json", type=Path, help="the file to write; benchmarks/results/ without")
    parser.add_argument(
        "--of",
        type=Path,
        nargs="+",
        metavar="FILE",
        default=(),
        help="measures nothing: takes the results of earlier runs",
    )
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="writes tables into PAGE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
