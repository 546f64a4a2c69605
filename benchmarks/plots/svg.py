"""A chart drawn: lines over logarithmic axes, readable on white and on black."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from benchmarks.plots.axis import Axis, powers, short, snug
from benchmarks.plots.chart import Chart, Line

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 72, 620, 76, 344
"""Of the area of the lines."""

COLOURS = (("#0060b0", "#5cb3ff"), ("#c24a00", "#ff9b57"), ("#00805a", "#3fd6a6"),
           ("#a0307e", "#f28fd0"), ("#6b5b00", "#e0cb4a"))  # fmt: skip
"""Of the lines, on white and on black. Shapes of the points tell them apart as well."""

SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-4,-4h8v8h-8z",
    "M0,-5l5,9h-10z",
    "M0,-5l5,5l-5,5l-5,-5z",
    "M-5,-4h10l-5,9z",
)

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 }
.ground { fill: #ffffff } .grid { stroke: #d8dee4 } .frame { stroke: #57606a; fill: none }
.line { fill: none; stroke-width: 1.75 } .ours { stroke-width: 3 }
"""
DARK = """
text { fill: #e6edf3 } .ground { fill: #0d1117 }
.grid { stroke: #30363d } .frame { stroke: #8b949e }
"""


def drawn(chart: Chart) -> str:
    """The chart as an SVG file: the same text for the same chart."""
    root = Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {HEIGHT}",
        "width": str(WIDTH), "height": str(HEIGHT), "role": "img",
        "aria-labelledby": "title description",
    })  # fmt: skip
    SubElement(root, "title", id="title").text = f"{chart.title}: calls a second by tasks"
    SubElement(root, "desc", id="description").text = ". ".join(map(_described, chart.lines)) + "."
    SubElement(root, "style").text = _style(len(chart.lines))
    SubElement(root, "rect", {"class": "ground", "width": "100%", "height": "100%"})
    _text(root, chart.title, 16, 26, css="title")
    x = powers((tasks for line in chart.lines for tasks, _ in line.points), LEFT, RIGHT)
    y = snug((calls for line in chart.lines for _, calls in line.points), BOTTOM, TOP)
    _axes(root, x, y)
    _legend(root, chart.lines)
    for number, line in reversed(list(enumerate(chart.lines))):  # ours is drawn last, so on top
        _curve(root, number, line, x, y)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _axes(root: Element, x: Axis, y: Axis) -> None:
    for tick in x.ticks():
        at = x.at(tick)
        _stroke(root, at, TOP, at, BOTTOM)
        _text(root, str(tick), at, BOTTOM + 19, anchor="middle")
    for tick in y.ticks():
        at = y.at(tick)
        _stroke(root, LEFT, at, RIGHT, at)
        _text(root, short(tick), LEFT - 8, at + 4, anchor="end")
    size = {"width": str(RIGHT - LEFT), "height": str(BOTTOM - TOP)}
    SubElement(root, "rect", {"class": "frame", "x": str(LEFT), "y": str(TOP), **size})
    middle = (TOP + BOTTOM) / 2
    _text(root, "concurrent tasks", (LEFT + RIGHT) / 2, HEIGHT - 14, anchor="middle")
    upright = _text(root, "calls a second", 20, middle, anchor="middle")
    upright.set("transform", f"rotate(-90 20 {middle:g})")


def _legend(root: Element, lines: Sequence[Line]) -> None:
    left = float(LEFT)
    for number, line in enumerate(lines):
        group = SubElement(root, "g", {"class": f"side{number}"})
        path = {"class": _css(number), "d": f"M{left:g},52h26"}
        SubElement(group, "path", path)
        _mark(group, number, left + 13, 52)
        _text(group, line.label, left + 32, 56)
        left += 52 + 7.2 * len(line.label)


def _curve(root: Element, number: int, line: Line, x: Axis, y: Axis) -> None:
    group = SubElement(root, "g", {"class": f"side{number}"})
    places = [(x.at(tasks), y.at(calls)) for tasks, calls in line.points]
    way = "L".join(f"{across:.1f},{up:.1f}" for across, up in places)
    SubElement(group, "path", {"class": _css(number), "d": f"M{way}"})
    for (tasks, calls), place in zip(line.points, places, strict=True):
        mark = _mark(group, number, *place)
        SubElement(mark, "title").text = f"{line.label}, {_by(tasks)}: {calls:,.0f} calls/s"


def _mark(parent: Element, number: int, x: float, y: float) -> Element:
    shape = SHAPES[number % len(SHAPES)]
    where = f"translate({x:.1f} {y:.1f})"
    return SubElement(parent, "path", {"class": "mark", "d": shape, "transform": where})


def _stroke(parent: Element, x1: float, y1: float, x2: float, y2: float) -> None:
    path = f"M{x1:.1f},{y1:.1f}L{x2:.1f},{y2:.1f}"
    SubElement(parent, "path", {"class": "grid", "d": path})


def _text(
    parent: Element, text: str, x: float, y: float, *, anchor: str = "start", css: str = ""
) -> Element:
    where = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}
    made = SubElement(parent, "text", where | ({"class": css} if css else {}))
    made.text = text
    return made


def _css(number: int) -> str:
    return "line" if number else "line ours"


def _style(lines: int) -> str:
    light, dark = ("".join(_rule(number, mode) for number in range(lines)) for mode in (0, 1))
    return f"{STYLE}{light}@media (prefers-color-scheme: dark) {{{DARK}{dark}}}\n"


def _rule(number: int, mode: int) -> str:
    colour = COLOURS[number % len(COLOURS)][mode]
    side = f".side{number}"
    return f"{side} .line {{ stroke: {colour} }} {side} .mark {{ fill: {colour} }}\n"


def _described(line: Line) -> str:
    points = ", ".join(f"{calls:,.0f} with {_by(tasks)}" for tasks, calls in line.points)
    return f"{line.label}: {points}"


def _by(tasks: int) -> str:
    return f"{tasks} task" if tasks == 1 else f"{tasks} tasks"
