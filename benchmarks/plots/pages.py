"""Charts as files beside a page, and their place on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.plots.chart import Chart, charts
from benchmarks.plots.svg import drawn
from benchmarks.report import replaced

FOLDER = "plots"


def write(page: Path, content: dict[str, Any]) -> list[Path]:
    """Draws the charts of a document, and replaces those of a page; none if it has none.

    Args:
        page: has the comments `<!-- plots -->` and `<!-- end -->`; the files go to the folder
            `plots` beside it.
        content: made by `benchmarks.report.document`, or read from its JSON.

    Returns:
        The files.
    """
    found = charts(content["results"])
    if not found:
        return []
    text = "\n".join(_links(found))
    page.write_text(replaced(page, FOLDER, f"{text}\n"))
    folder = page.parent / FOLDER
    folder.mkdir(exist_ok=True)
    files = [folder / chart.file for chart in found]
    for chart, file in zip(found, files, strict=True):
        file.write_text(drawn(chart), encoding="utf-8")
    return files


def _links(found: Sequence[Chart]) -> Iterator[str]:
    for store, group in groupby(found, key=lambda chart: chart.store):
        images = [f"![{chart.title}]({FOLDER}/{chart.file})" for chart in group]
        yield f"### {store}\n\n| | |\n|---|---|"
        for start in range(0, len(images), 2):
            left, right = (*images[start : start + 2], "")[:2]
            yield f"| {left} | {right} |"
        yield ""
