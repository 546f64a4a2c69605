"""What was measured as tables for a page, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cattrs
from attrs import asdict, frozen

from benchmarks.growth.run import Growth, Step
from benchmarks.growth.timing import Compared
from benchmarks.machine import machine, versions
from benchmarks.report import duration, replaced

MARK = "growth"
"""The name of the part of a page where the tables go."""

KINDS = ("value", "member", "message")


@frozen
class Document:
    """A run: when and where, and what was measured."""

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    stores: tuple[Growth, ...]


def document(stores: Sequence[Growth]) -> Document:
    """A run of now and here."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    where = {name: str(value) for name, value in machine().items()}
    return Document(date, where, versions(), tuple(stores))


def write_json(path: Path, content: Document) -> None:
    """Writes a document, as `read_json` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(content), indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Document:
    """Reads a document."""
    return cattrs.structure(json.loads(path.read_text()), Document)


def write_markdown(page: Path, documents: Sequence[Document]) -> None:
    """Replaces the tables of a page."""
    lines: list[str] = []
    for content in documents:
        where = ", ".join(f"{name} {value}" for name, value in content.machine.items())
        lines.append(f"Run of {content.date}. Machine: {where}.")
        for store in content.stores:
            lines += ["", *table(store), ""]
    page.write_text(replaced(page, MARK, "\n".join(lines)))


def table(growth: Growth) -> Iterator[str]:
    """The lines of a table; a column for each step, each ratio to the storage that stays small."""
    first, *others = growth.steps
    head = [f"{growth.store}, µs or ms a call", *(f"{step.keys:,} keys" for step in growth.steps)]
    yield _row(head)
    yield _row(["---", *("---:" for _ in growth.steps)])
    for index, call in enumerate(first.calls):
        cells = [_time(call.many), *(_beside(step.calls[index]) for step in others)]
        yield _row([f"{call.name} (p99)", *cells])
    for kind in KINDS:
        yield _row([f"reading all, a {kind}", *_each(growth, "everything", kind)])
    for kind in KINDS:
        yield _row([f"filling, a {kind}", *_each(growth, "filled", kind)])
    yield _row(["memory before and after reading all, MB", *map(_memory, growth.steps)])


def _each(growth: Growth, what: str, kind: str) -> Iterator[str]:
    for step in growth.steps:
        micros: float | None = getattr(getattr(step, what), kind)
        yield "" if micros is None else duration(micros)


def _beside(call: Compared) -> str:
    return f"{_time(call.many)}, {call.many.p50 / call.few.p50:.2f}x"


def _time(timed: Any) -> str:
    return f"{duration(timed.p50)} ({duration(timed.p99)})"


def _memory(step: Step) -> str:
    return f"{step.everything.before:.1f}, {step.everything.most:.1f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
