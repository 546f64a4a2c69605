"""Charts show what results say, and are files that other programs can read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.plots.__main__ import main
from benchmarks.plots.axis import powers, short, snug
from benchmarks.plots.chart import Chart, Line, charts
from benchmarks.plots.pages import write
from benchmarks.plots.svg import drawn

SVG = "{http://www.w3.org/2000/svg}"
DOCS = Path(__file__).parents[2] / "docs"
TASKS = (1, 10, 100, 1000)


def test_every_side_is_a_line(document: dict[str, Any]) -> None:
    """Ours is there once, though it was measured beside each of the others, and comes first."""
    get, put = charts(document["results"])
    assert [line.label for line in get.lines] == ["ours", "one & only", "other <pool>"]
    assert [line.label for line in put.lines] == ["ours", "one & only"]
    assert get.lines[0].points == tuple((tasks, 1e5) for tasks in TASKS)  # the median of 9 and 11
    assert get.lines[2].points[0] == (1, 5e4)


def test_what_is_drawn(document: dict[str, Any]) -> None:
    """Each line has its label, a path through its points, and a title for each of them."""
    for chart in charts(document["results"]):
        root = ElementTree.fromstring(drawn(chart))
        texts = [each.text for each in root.iter(f"{SVG}text")]
        assert {"concurrent tasks", "calls a second", "1000", chart.title} <= set(texts)
        named = root.get("aria-labelledby", "").split()
        assert {each.get("id") for each in (*root.iter(f"{SVG}title"), *root.iter(f"{SVG}desc"))
                } >= set(named)  # fmt: skip
        assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
        for number, line in enumerate(chart.lines):
            assert line.label in texts
            assert line.label in (root.findtext(f"{SVG}desc") or "")
            groups = [each for each in root if each.get("class") == f"side{number}"]
            assert len(groups) == 2  # in the legend, and on the chart
            marks = [each.findtext(f"{SVG}title") for each in groups[1].iter(f"{SVG}path")]
            for tasks, calls in line.points:
                by = f"{tasks} task{'s' * (tasks > 1)}"
                assert f"{line.label}, {by}: {calls:,.0f} calls/s" in marks


def test_points_lie_within_the_frame() -> None:
    """Whatever the numbers are, one point alone included, and more calls are higher up."""
    for calls in ((3.0,), (1e5, 1e5), (0.2, 7e6)):
        line = Line("one", tuple(zip(TASKS, calls, strict=False)))
        x, y = powers(TASKS[: len(calls)], 0, 100), snug(calls, 100, 0)
        for tasks, each in line.points:
            assert 0 <= x.at(tasks) <= 100
            assert 0 <= y.at(each) <= 100
        assert y.at(max(calls)) <= y.at(min(calls))
        assert len(list(y.ticks())) >= 2
        ElementTree.fromstring(drawn(Chart("a chart", (line,))))
    assert [short(number) for number in (1, 500, 2e4, 5e6)] == ["1", "500", "20k", "5M"]


def test_a_page_shows_its_charts(document: dict[str, Any], tmp_path: Path) -> None:
    """The files that a page links are there, what stands around them stays, and a run without
    charts changes nothing."""
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text("before\n<!-- plots -->\nold\n<!-- end -->\nafter\n")
    assert write(page, {"results": []}) == []
    assert "old" in page.read_text()
    results.write_text(json.dumps(document))
    assert main([str(results), str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- plots -->\n### redis")
    assert text.endswith("<!-- end -->\nafter\n")
    assert _linked(page) == {"plots/redis-get.svg", "plots/redis-90-put.svg"}


def test_the_docs_show_theirs() -> None:
    """Every chart of the documentation is there, can be read, and none lies about unused."""
    linked = _linked(DOCS / "benchmarks.md")
    assert linked == {f"plots/{file.name}" for file in (DOCS / "plots").iterdir()}
    assert {f"plots/{store}-get.svg" for store in ("redis", "postgres", "sqlite")} <= linked
    for file in linked:
        root = ElementTree.parse(DOCS / file).getroot()
        assert root.tag == f"{SVG}svg"
        assert root.findtext(f"{SVG}title")


@pytest.fixture
def document() -> dict[str, Any]:
    """Results of two calls; one beside two others."""
    results = [
        _result("redis get", tasks, ours, other)
        for tasks in TASKS
        for ours, other in ((9.0, ("one & only", 40.0)), (11.0, ("other <pool>", 20.0)))
    ]
    puts = [_result("redis 90 % put", tasks, 5.0, ("one & only", 50.0)) for tasks in TASKS]
    return {"results": [*results, {"point": None, "name": "not plotted"}, *puts]}


def _result(chart: str, tasks: int, ours: float, theirs: tuple[str, float]) -> dict[str, Any]:
    label, micros = theirs
    return {
        "ours": {"label": "ours", "median": ours},
        "theirs": {"label": label, "median": micros},
        "point": {"chart": chart, "tasks": tasks},
    }


def _linked(page: Path) -> set[str]:
    found = set(re.findall(r"!\[[^]]+\]\((plots/[^)]+)\)", page.read_text()))
    assert all((page.parent / file).is_file() for file in found)
    return found
