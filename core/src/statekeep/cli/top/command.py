"""The command."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from statekeep.cli.call import Call, command
from statekeep.cli.exits import OK

if TYPE_CHECKING:
    from statekeep.cli.top.figures import Figures, History
    from statekeep.cli.top.samples import Sampler

PIPE_WIDTH = 110
"""Columns where nobody says how wide the output is."""

Seconds = Annotated[
    float,
    typer.Option("--interval", metavar="SECONDS", min=0.1, max=3600, help="Between two looks."),
]
CountEvery = Annotated[
    float,
    typer.Option(
        "--count-every",
        metavar="SECONDS",
        min=1,
        max=86_400,
        help="Between two counts of records, which read the store.",
    ),
]
Rounds = Annotated[
    int | None, typer.Option("--rounds", metavar="N", min=1, help="End after so many looks.")
]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        metavar="URL",
        help="Where a process serves its metrics, such as http://localhost:9464/metrics; "
        "may be given several times.",
    ),
]


def top(
    call: Call,
    metrics: Urls = None,
    interval: Seconds = 2.0,
    count_every: CountEvery = 30.0,
    rounds: Rounds = None,
) -> int:
    """Watch a store live: latency, growth, queues; calls, pools and caches of its users.

    Ctrl-C ends it. Where stdout is no terminal, it prints one look after the other.
    """
    from statekeep.cli.top.figures import History
    from statekeep.cli.top.samples import Counting, Sampler

    with call.storage() as storage:
        counting, history = Counting(storage.backend, count_every), History()
        sampler = Sampler(storage.backend, tuple(metrics or ()), counting)
        counting.start()
        try:
            looks = _looks(sampler, history, interval, rounds)
            if call.out.terminal:
                _live(str(storage.backend.target), history, looks)
            else:
                counting.wait()
                _print(call, str(storage.backend.target), history, looks)
        except KeyboardInterrupt:
            return OK
        finally:
            counting.stop()
    return OK


def _looks(
    sampler: Sampler, history: History, interval: float, rounds: int | None
) -> Iterator[Figures]:
    """The figures, each `interval` seconds after the one before."""
    due = time.monotonic()
    for number in count(1):
        yield history.take(sampler.sample(), sampler.counting.first)
        if number == rounds:
            return
        now = time.monotonic()
        due = max(due + interval, now)  # where a look takes longer, none is made up
        time.sleep(due - now)


def _live(title: str, history: History, looks: Iterator[Figures]) -> None:
    from rich.console import Console
    from rich.live import Live

    from statekeep.cli.top.view import screen

    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for figures in looks:
            live.update(screen(title, figures, history), refresh=True)


def _print(call: Call, title: str, history: History, looks: Iterator[Figures]) -> None:
    from rich.console import Console

    from statekeep.cli.top.figures import as_json
    from statekeep.cli.top.view import screen

    console = Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
    for figures in looks:
        if call.out.as_json:
            call.out.record(as_json(figures))
        else:
            console.print(screen(title, figures, history))
        sys.stdout.flush()


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    command(app, "top")(top)
