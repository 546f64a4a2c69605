"""How far a move is: a bar on a terminal, now and then a line elsewhere, on stderr."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer
from attrs import define, field

from statekeep.cli.text import printable
from statekeep.errors import StorageError
from statekeep.migration import Progress, Selection

if TYPE_CHECKING:
    from statekeep.backend import Backend

EVERY = 5.0
"""Seconds between two lines."""

MEGABYTE = 10**6


@define
class Estimate:
    """How many records there are, once they were counted in the background.

    Attributes:
        records: None before, and where they cannot be counted.
    """

    records: int | None = None

    def count(self, backend: Backend, selection: Selection) -> None:
        """Begins to count. With a prefix there is nothing that a store could tell quickly."""
        if not selection.prefix:
            threading.Thread(target=self._count, args=(backend, selection), daemon=True).start()

    def _count(self, backend: Backend, selection: Selection) -> None:
        try:
            found = backend.stats().kinds
        except StorageError:  # the move says what is wrong, if anything is
            return
        self.records = sum(each.records for kind, each in found.items() if kind in selection.kinds)


@define
class Display:
    """Shows progress on stderr. Made by `display`.

    Attributes:
        as_json: lines are JSON objects.
        bar: of rich, for a terminal; None for lines.
        estimate: how much there is.
        clock: seconds, from any moment on.
    """

    as_json: bool
    bar: Any = None
    estimate: Estimate = field(factory=Estimate)
    clock: Callable[[], float] = time.monotonic
    _phase: str = ""
    _began: float = 0.0
    _shown: float = 0.0
    _task: Any = None

    def __call__(self, progress: Progress) -> None:
        """Shows it, if it is time to."""
        now = self.clock()
        if progress.phase != self._phase:
            self._phase, self._began, self._shown = progress.phase, now, now
            if self.bar is not None:
                self._task = self._begin(self.bar, progress.phase)
        if self.bar is not None:
            total = self.estimate.records
            done = progress.records
            self.bar.update(self._task, completed=done, total=total and max(total, done))
        elif now - self._shown >= EVERY:
            self._shown = now
            typer.echo(self._line(progress, now - self._began), err=True)

    def _line(self, progress: Progress, seconds: float) -> str:
        whole = progress.total
        done = progress.records
        rate = (done - progress.resumed) / seconds if seconds else 0.0
        total = self.estimate.records
        left = None
        if total is not None and rate and total > done:
            left = round((total - done) / rate)
        if self.as_json:
            return json.dumps(
                {
                    "progress": progress.phase,
                    "records": done,
                    "total": total,
                    "bytes": whole.bytes,
                    "records_per_second": round(rate),
                    "seconds_left": left,
                }
            )
        size = f"{whole.bytes / MEGABYTE:.1f} MB"
        of = f" of {total}" if total is not None else ""
        rest = f", about {left} s left" if left is not None else ""
        return f"{progress.phase}: {done}{of} records, {size}, {rate:.0f}/s{rest}"

    def _begin(self, bar: Any, phase: str) -> Any:
        if self._task is not None:
            bar.remove_task(self._task)
        return bar.add_task(phase, total=None)


@contextmanager
def display(as_json: bool, backend: Backend | None, selection: Selection) -> Iterator[Display]:
    """A display of a move of these records of a backend, or of a file."""
    watched = not as_json and sys.stderr is not None and sys.stderr.isatty()
    bar = _bar() if watched else None
    with bar or nullcontext():
        shown = Display(as_json, bar)
        if backend is not None:
            shown.estimate.count(backend, selection)
        log, told = logging.getLogger("statekeep.migration"), _Told(shown)
        log.addHandler(told)
        try:
            yield shown
        finally:
            log.removeHandler(told)


class _Told(logging.Handler):
    """Shows what a move has to say of a store that is away."""

    def __init__(self, shown: Display) -> None:
        super().__init__(logging.WARNING)
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        """One line, above the bar where there is one."""
        message = printable(record.getMessage())
        if self._shown.bar is not None:
            self._shown.bar.console.print(message)
        else:
            line = json.dumps({"warning": message}) if self._shown.as_json else message
            typer.echo(line, err=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.0f}/s")

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
