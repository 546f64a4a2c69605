"""Results as a table, as JSON, and as the table of docs/benchmarks.md."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import asdict
from rich.table import Table

from benchmarks.harness import Result, Timing
from benchmarks.machine import machine, versions

HEAD = ("what", "ours", "beside it", "ratio", "spread", "bar", "met")


def table(results: Sequence[Result]) -> Table:
    """For a terminal."""
    made = Table(title="microseconds (µs) or milliseconds (ms) a call", title_justify="left")
    for name in HEAD:
        right = name in ("ours", "beside it", "ratio", "spread")
        made.add_column(name, justify="right" if right else "left", no_wrap=name == "ratio")
    for result in results:
        style = {None: "", True: "green", False: "bold red"}[result.met]
        made.add_row(*_cells(result), style=style)
    return made


def document(results: Sequence[Result], *, quick: bool, seconds: float) -> dict[str, Any]:
    """For machines: every median of every round, in µs a call."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seconds": round(seconds, 1),
        "machine": machine(),
        "versions": versions(),
        "results": [_plain(result) for result in results],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_markdown(path: Path, content: dict[str, Any], results: Sequence[Result]) -> None:
    """Replaces the table of a page."""
    path.write_text(replaced(path, "results", _markdown(content, results)))


def replaced(page: Path, name: str, text: str) -> str:
    """A page with other text between `<!-- NAME -->` and the next `<!-- end -->`.

    Raises:
        SystemExit: the page lacks them.
    """
    mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    made, count = mark.subn(lambda found: f"{found[1]}{text}{found[2]}", page.read_text())
    if not count:
        raise SystemExit(f"{page} lacks the comments <!-- {name} --> and <!-- end -->")
    return made


def _markdown(content: dict[str, Any], results: Sequence[Result]) -> str:
    where = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    what = ", ".join(f"{name} {value}" for name, value in content["versions"].items())
    lines = [
        f"Run of {content['date']}, {content['seconds']:.0f} s.",
        f"Machine: {where}.",
        f"Versions: {what}.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|---|---|---|{'---:|' * 2}---|---|",
    ]
    lines += [f"| {' | '.join(_cells(result))} |" for result in results]
    return "\n".join(lines) + "\n"


def _cells(result: Result) -> tuple[str, ...]:
    bar = "" if result.bar is None else result.bar.text
    met = {None: "", True: "yes", False: "NO"}[result.met]
    return (_name(result), _side(result.ours), _side(result.theirs), *_ratio(result), bar, met)


def _name(result: Result) -> str:
    extra = [result.note] if result.note else []
    if result.speed is not None:
        extra.append(f"{result.speed:.0f} MB/s")
    return f"{result.name} ({', '.join(extra)})" if extra else result.name


def _side(timing: Timing | None) -> str:
    return "" if timing is None else f"{duration(timing.median)} {timing.label}"


def duration(micros: float) -> str:
    """So many µs, or as ms."""
    return f"{micros / 1000:.3g} ms" if micros >= 1000 else f"{micros:.3g} µs"


def _ratio(result: Result) -> tuple[str, str]:
    if result.ratio is None or result.spread is None:
        return ("", "")
    low, high = result.spread
    return (f"{result.ratio:.2f}", f"{low:.2f} to {high:.2f}")


def _plain(result: Result) -> dict[str, Any]:
    return {
        "benchmark": result.benchmark,
        "name": result.name,
        "ours": _timing(result.ours),
        "theirs": _timing(result.theirs),
        "ratio": result.ratio,
        "spread": result.spread,
        "bar": None if result.bar is None else {"of": result.bar.of, "most": result.bar.most},
        "met": result.met,
        "note": result.note,
        "mb_per_second": result.speed,
        "point": None if result.point is None else asdict(result.point),
    }


def _timing(timing: Timing | None) -> dict[str, Any] | None:
    if timing is None:
        return None
    return {"label": timing.label, "median": timing.median, "rounds": timing.rounds}
