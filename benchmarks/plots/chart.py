"""What a chart shows, taken from results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from attrs import frozen


@frozen
class Line:
    """One side's curve: calls a second, by the number of tasks."""

    label: str
    points: tuple[tuple[int, float], ...]


@frozen
class Chart:
    """The same call by several sides; ours comes first."""

    title: str
    lines: tuple[Line, ...]

    @property
    def file(self) -> str:
        """The name of its file."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") + ".svg"

    @property
    def store(self) -> str:
        """What is called."""
        return self.title.partition(" ")[0]


def charts(results: Iterable[Mapping[str, Any]]) -> list[Chart]:
    """The charts of a run, in the order of its results.

    Args:
        results: of a document that `benchmarks.report` made. Ours was measured beside each of the
            others: the median of those counts.
    """
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for result in results:
        point = result.get("point")
        if point is None:
            continue
        lines = found.setdefault(point["chart"], {})
        for side in (result["ours"], result["theirs"]):
            if side is not None:
                micros = lines.setdefault(side["label"], {}).setdefault(point["tasks"], [])
                micros.append(side["median"])
    return [Chart(title, tuple(_line(*line) for line in lines.items()))
            for title, lines in found.items()]  # fmt: skip


def _line(label: str, micros: Mapping[int, list[float]]) -> Line:
    points = ((tasks, 1e6 / median(each)) for tasks, each in sorted(micros.items()))
    return Line(label, tuple(points))
