"""The figures on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from statekeep.cli.text import printable
from statekeep.cli.top.figures import Figures, History, amount, duration, size, sparkline

WIDTH = 30
MOST_QUEUES = 10
MOST_OPERATIONS = 12
HEALTHY, BAD = "green", "bold red"


def screen(title: str, figures: Figures, history: History) -> RenderableType:
    """Everything, as large as its content."""
    return Group(*_parts(title, figures, history))


def _parts(title: str, figures: Figures, history: History) -> Iterator[RenderableType]:
    yield _head(title, figures)
    yield Columns([_store(figures, history), _queues(figures)], expand=False)
    if figures.sample.exported.processes:
        yield _calls(figures, history)
        yield _processes(figures)
    elif not figures.sample.asked:
        yield Text(
            "Calls, pools and caches are those of the processes that use the store: "
            "give --metrics URL of what the observer prometheus serves there.",
            style="dim",
        )
    for error in figures.sample.errors:
        yield Text(printable(error), style=BAD)


def _head(title: str, figures: Figures) -> Text:
    sample = figures.sample
    answers = "does not answer" if sample.ping is None else "answers"
    style = BAD if sample.ping is None else HEALTHY
    return Text.assemble(
        (f"statekeep top  {printable(title)}  ", "bold"),
        (answers, style),
        f"  {sample.time:%H:%M:%S} UTC",
    )


def _store(figures: Figures, history: History) -> Panel:
    sample, stats = figures.sample, figures.sample.counted.stats
    table = Table(box=None, pad_edge=False)
    for name in ("kind", "records", "bytes", "grows"):
        table.add_column(name.upper(), justify="left" if name == "kind" else "right")
    for kind, each in figures.kinds.items():
        grows = "-" if each.growth is None else f"{size(each.growth)}/s"
        table.add_row(kind, amount(each.records), size(each.bytes), grows)
    occupied = "" if stats is None else f"occupies {size(stats.stored_bytes)}"
    counted = Text("counting ..." if stats is None else occupied, style="dim")
    ping = Text(
        f"ping {duration(sample.ping)}  get {duration(sample.get)}  "
        f"{sparkline(history.pings, WIDTH)}"
    )
    return Panel(Group(ping, table, counted), title="store", title_align="left")


def _queues(figures: Figures) -> Panel:
    found = sorted(figures.sample.counted.queues, key=lambda each: -each.ready)
    table = Table(box=None, pad_edge=False)
    for name in ("queue", "messages", "ready", "held", "oldest"):
        table.add_column(name.upper(), justify="left" if name == "queue" else "right")
    for each in found[:MOST_QUEUES]:
        oldest = None if each.oldest is None else each.oldest.total_seconds()
        numbers = (amount(each.messages), amount(each.ready), amount(each.held))
        table.add_row(printable(each.queue), *numbers, duration(oldest))
    left = len(found) - MOST_QUEUES
    more = [Text(f"and {left} more", style="dim")] if left > 0 else []
    return Panel(Group(table, *more), title="queues", title_align="left")


def _calls(figures: Figures, history: History) -> Panel:
    table = Table(box=None, pad_edge=False)
    table.add_column("CALLS")
    for name in ("a second", "p50", "p95", "p99", "failed/s", "conflicts/s"):
        table.add_column(name.upper(), justify="right")
    for name, each in list(figures.calls.items())[:MOST_OPERATIONS]:
        times = (duration(part) for part in (each.p50, each.p95, each.p99))
        failed = Text(amount(each.failed), style=BAD if each.failed else "")
        table.add_row(printable(name), amount(each.rate), *times, failed, amount(each.conflicts))
    whole = Text(f"{amount(history.rates[-1])} calls/s  {sparkline(history.rates, WIDTH)}")
    count = figures.sample.exported.processes
    title = f"calls of {count} process{'' if count == 1 else 'es'}"
    return Panel(Group(whole, table), title=title, title_align="left")


def _processes(figures: Figures) -> Text:
    exported = figures.sample.exported
    used = exported.get("pool_connections", "in_use")
    idle = exported.get("pool_connections", "idle")
    waiting = exported.get("pool_waiting") or 0
    line = Text(f"pool {amount(used)} in use, {amount(idle)} idle, ")
    line.append(f"{amount(waiting)} wait", style=BAD if waiting else "")
    line.append(f" (of {amount(exported.get('pool_limit'))})")
    for kind, rate in figures.hit_rates.items():
        line.append(f"   {kind} hits {rate:.1%}")
    if figures.compression is not None:
        line.append(f"   compression {figures.compression:.2f}x")
    line.append(f"   retries {amount(figures.retries)}/s")
    return line
