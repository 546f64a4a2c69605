"""python -m examples.orders [INPUT.csv] [options]: see examples/README.md."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import statekeep
from rich.console import Console
from statekeep import Storage

from examples.orders.display import display, print_report
from examples.orders.feed import Feed, remove_run
from examples.orders.keys import Keys
from examples.orders.run import Settings, execute
from examples.orders.source import InputError, Order, read_orders
from examples.orders.supervisor import WorkerFailed
from examples.orders.verify import expectations, verify

INPUT = Path(__file__).with_name("orders.csv")
PASSED, DIFFERENT, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
PLAIN_WIDTH = 100


def main(arguments: list[str] | None = None) -> int:
    """Runs the workflow and returns the exit code."""
    options = _parser().parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as cleanly as Ctrl-C
    try:
        orders = read_orders(options.input)
    except InputError as error:
        return _unusable(error)
    run = options.run or f"run-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}"
    folder = options.folder / run
    folder.mkdir(parents=True, exist_ok=True)
    keep = options.keep
    try:
        config = options.config or _own_config(folder)
        with statekeep.open(config) as storage:
            code = _run(console, options, _settings(options, config, folder), orders, storage)
            keep = keep or code == DIFFERENT
            if options.config and not keep:
                remove_run(storage, Keys(run))
        return code
    except KeyboardInterrupt:
        console.print("stopped; all workers have ended")
        return INTERRUPTED
    except WorkerFailed as error:
        keep = True
        return _unusable(error)
    except (InputError, statekeep.StorageError) as error:
        return _unusable(error)
    finally:
        if keep:
            console.print(_how_to_go_on(options, run, folder), soft_wrap=True, highlight=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _run(
    console: Console,
    options: argparse.Namespace,
    settings: Settings,
    orders: list[Order],
    storage: Storage,
) -> int:
    if not storage.capabilities.shared:
        raise InputError(
            f"{options.config}: this backend is seen by one process only, and the workers are "
            "processes: use sqlite, or a server"
        )
    keys = Keys(settings.run)
    feed = Feed(storage, keys, orders, settings.open)
    feed.prepare()
    resumed = f", {feed.submitted} of them in the store already" if feed.submitted else ""
    console.print(
        f"{options.input}: {len(orders)} orders{resumed}; {settings.workers} workers, "
        f"{settings.kills} to be killed (seed {settings.seed})",
        soft_wrap=True,
        highlight=False,
    )
    steps = {id: len(each.steps) for id, each in expectations(options.input).items()}
    with display(console) as show:
        progress = execute(settings, storage, feed, steps, show)
    report = verify(storage, keys, options.input)
    print_report(console, report, progress)
    return DIFFERENT if report.problems else PASSED


def _settings(options: argparse.Namespace, config: str, folder: Path) -> Settings:
    return Settings(
        config=config,
        run=folder.name,
        log=folder / "workers.log",
        workers=options.workers,
        kills=options.kills,
        stalls=options.stalls,
        seed=options.seed,
        lease=options.lease,
        open=options.open,
    )


def _own_config(folder: Path) -> str:
    """The config of a run that is given none: an SQLite file of its own."""
    path = folder / "statekeep.json"
    path.write_text(json.dumps({"storage": {"sqlite": {"path": str(folder / "orders.db")}}}))
    return str(path)


def _how_to_go_on(options: argparse.Namespace, run: str, folder: Path) -> str:
    command = ["python", "-m", "examples.orders", str(options.input), "--run", run, "--keep"]
    if options.config:
        command += ["--config", options.config]
    where = options.config or folder / "orders.db"
    return f"kept in {where}\nto go on, or to check again: {shlex.join(command)}"


def _unusable(error: Exception) -> int:
    print(error, file=sys.stderr)
    return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.orders",
        description="Runs a durable order workflow while its workers are killed, and checks that "
        "every step was applied exactly once.",
    )
    option = parser.add_argument
    option("input", nargs="?", type=Path, default=INPUT, help="a CSV file (%(default)s)")
    option("--workers", type=_count(1), default=3, help="worker processes (%(default)s)")
    option("--kills", type=_count(0), default=12, help="workers to kill (%(default)s)")
    option("--stalls", type=_count(0), default=2, help="workers that outsleep their lease (2)")
    option("--lease", type=_seconds, default=2.0, help="seconds that a claim holds (%(default)s)")
    option("--seed", type=int, default=1, help="of what happens at random (%(default)s)")
    option("--open", type=_count(1), default=300, help="orders in the works at once (%(default)s)")
    option("--config", help="a config file or URL of statekeep (an SQLite file of its own)")
    option("--run", type=_name, help="names the run; the name of a kept one goes on with it")
    option("--folder", type=Path, default=Path(".run"), help="where runs are kept (%(default)s)")
    option("--keep", action="store_true", help="keep the data, and say where it is")
    return parser


def _count(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least}, got {text!r}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"must be seconds, such as 2 or 0.5, got {text!r}")
    return float(text)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise argparse.ArgumentTypeError("use letters, digits, '.', '_' and '-' only")
    return text


if __name__ == "__main__":
    sys.exit(main())
