"""The run to ten million keys, in small; what is flat about it needs no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth import __main__ as command
from benchmarks.growth import report
from benchmarks.growth.calling import CALLS
from benchmarks.growth.run import measure
from benchmarks.growth.timing import Pace, compare

pytestmark = pytest.mark.xdist_group("benchmarks")

STEPS = (2_000, 10_000)
"""More than a page each: what fills one page is no growth."""
HURRIED = Pace(warm_up=0.0, measured=0.0)
MOST_MORE = 3.0
"""MB that reading five times as much may take more; it would be 7 if all were kept."""


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_reading_everything_takes_no_more_memory(store: str, tmp_path: Path) -> None:
    """Each step measures every call, and pages and scans are read in constant memory."""
    told: list[str] = []
    few, many = measure(store, tmp_path, STEPS, HURRIED, told.append)
    assert (few.keys, many.keys) == STEPS
    assert [call.name for call in many.calls] == list(CALLS)
    assert len(told) == 3 * len(STEPS)
    assert many.everything.most - few.everything.most < MOST_MORE
    assert min(few.everything.value, many.everything.value) > 0


def test_results_can_be_shown_again(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """A run writes its results, and a later one puts those of several onto a page."""
    monkeypatch.setattr(command, "STEPS", (200, 400))
    monkeypatch.setattr(command, "Pace", lambda: HURRIED)
    results, page = tmp_path / "run.json", tmp_path / "page.md"
    assert command.main(["sqlite", "--json", str(results)]) == 0
    printed = capsys.readouterr().out
    page.write_text("before\n<!-- growth -->\n<!-- end -->\nafter\n")
    assert command.main(["--of", str(results), str(results), "--markdown", str(page)]) == 0
    assert capsys.readouterr().out == 2 * printed
    text = page.read_text()
    assert text.startswith("before\n<!-- growth -->\nRun of ")
    assert text.endswith("<!-- end -->\nafter\n")
    assert text.count("| sqlite, µs or ms a call | 200 keys | 400 keys |") == 2
    (growth,) = report.read_json(results).stores
    ratio = growth.steps[1].calls[0].many.p50 / growth.steps[1].calls[0].few.p50
    assert f"{ratio:.2f}x" in printed


def test_a_store_that_there_is_not(capsys: Any) -> None:
    """A name that was mistyped is not an empty run."""
    with pytest.raises(SystemExit):
        command.main(["sqlight"])
    assert "sqlight" in capsys.readouterr().err


def test_both_take_turns() -> None:
    """The two storages are called alternately, and no one always first."""
    calls: list[str] = []
    compared = compare("x", lambda: calls.append("few"), lambda: calls.append("many"), Pace(0, 0.1))
    turns = [each for each, before in zip(calls, ["", *calls], strict=False) if each != before]
    assert turns.count("many") >= 2
    assert compared.few.p50 <= compared.few.p99
