"""What the run shows while it works, and the table at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from attrs import frozen
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.orders.model import FINAL, Status
from examples.orders.verify import Report, Tally

PLAIN_EVERY = 3.0
"""Seconds between two lines where there is no terminal."""
SHOWN = 20
"""At most so many problems are printed."""


@frozen
class Progress:
    """How far a run has come."""

    total: int
    counts: Mapping[Status, int]
    steps: int
    kills: int
    seconds: float

    @property
    def finished(self) -> int:
        """Orders that are done or cancelled."""
        return sum(self.counts[status] for status in FINAL)

    @property
    def rate(self) -> float:
        """Steps a second, since the beginning."""
        return self.steps / self.seconds if self.seconds else 0.0

    @property
    def left(self) -> str:
        """The time that remains, if it goes on like this."""
        if not self.finished:
            return "?"
        return f"{self.seconds / self.finished * (self.total - self.finished):.0f} s"


class Show(Protocol):
    """Takes each new progress."""

    def __call__(self, progress: Progress) -> None:
        """Shows it."""


@contextmanager
def display(console: Console) -> Iterator[Show]:
    """A live table on a terminal, else a plain line every few seconds."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            yield lambda progress: live.update(_live(progress))
    else:
        yield _Plain(console)


class _Plain:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._last < PLAIN_EVERY:
            return
        self._last = time.monotonic()
        self._console.print(_line(progress), soft_wrap=True, highlight=False)


def _line(progress: Progress) -> str:
    return (
        f"{progress.seconds:5.1f} s  {progress.finished} of {progress.total} orders finished, "
        f"{progress.rate:.0f} steps/s, {progress.kills} kills, about {progress.left} left"
    )


def _live(progress: Progress) -> Group:
    table = Table(box=None, show_header=False)
    table.add_row(
        "all orders", str(progress.finished), ProgressBar(progress.total, progress.finished, 50)
    )
    for status in Status:
        count = progress.counts[status]
        table.add_row(status.value, str(count), ProgressBar(progress.total, count, 50))
    return Group(Text(_line(progress)), table)


def print_report(console: Console, report: Report, progress: Progress) -> None:
    """The table of a run that has ended, and every difference that was found."""
    ok = not report.problems
    table = Table(title="orders, checked against the input", title_justify="left")
    table.add_column("what")
    table.add_column("how many", justify="right")
    for name, value in _figures(report, progress):
        table.add_row(name, value)
    table.add_row("lost or doubled", "nothing" if ok else f"{len(report.problems)} differences")
    console.print(table)
    for problem in report.problems[:SHOWN]:
        console.print(Text(f"DIFFERENCE {problem}", style="red"), soft_wrap=True)
    if len(report.problems) > SHOWN:
        console.print(Text(f"... and {len(report.problems) - SHOWN} more", style="red"))


def _figures(report: Report, progress: Progress) -> list[tuple[str, str]]:
    return [
        ("orders", _of(report.orders)),
        ("done", _of(report.done)),
        ("cancelled, stock released", _of(report.cancelled)),
        ("steps applied exactly once", _of(report.steps)),
        ("units shipped", _of(report.shipped)),
        ("cents taken", _of(report.paid_cents)),
        ("workers killed with SIGKILL", f"{progress.kills:,}"),
        ("steps applied on redelivery", f"{report.redelivered:,}"),
        ("steps refused, lease lost", f"{report.fenced:,}"),
        ("steps begun again, stock changed", f"{report.conflicts:,}"),
        ("steps a second", f"{progress.rate:,.0f}"),
        ("wall time", f"{progress.seconds:.1f} s"),
    ]


def _of(tally: Tally) -> str:
    return f"{tally.found:,} of {tally.expected:,}"
