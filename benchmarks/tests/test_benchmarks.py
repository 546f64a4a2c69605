"""The benchmarks run, and say what they are to say; how fast anything is, is no matter here."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import caching, choosing, compression
from benchmarks.__main__ import BENCHMARKS, GROUPS, main
from benchmarks.harness import Bar, Comparison, Plan, Result, Side, Timing, at_most, measure

pytestmark = pytest.mark.xdist_group("benchmarks")  # one run for all of them


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("benchmarks")
    page = folder / "page.md"
    page.write_text(
        "before\n<!-- plots -->\n<!-- end -->\n<!-- results -->\nold\n<!-- end -->\nafter\n"
    )
    arguments = ["--quick", "--json", str(folder / "run.json"), "--markdown", str(page)]
    assert main(arguments) == 0
    return json.loads((folder / "run.json").read_text()) | {"page": page.read_text()}


def test_every_benchmark_is_there(document: Any) -> None:
    """Each benchmark has at least one comparison, and no two have one name."""
    names = [each["name"] for each in document["results"]]
    found = {each["benchmark"] for each in document["results"]}
    need_servers = {*GROUPS["servers"], "aio-postgres", "aio-mysql"}
    assert found | need_servers == set(BENCHMARKS)
    assert len(names) == len(set(names))


def test_the_shape_of_a_result(document: Any) -> None:
    """Both sides have a median and their rounds; a bar comes with whether it is met."""
    assert document["quick"] is True
    assert {"cpu", "cores", "memory_gb", "system"} <= set(document["machine"])
    assert {"python", "sqlite", "statekeep", "diskcache"} <= set(document["versions"])
    for result in document["results"]:
        for side in (result["ours"], result["theirs"]):
            if side is not None:
                assert side["median"] > 0
                assert len(side["rounds"]) >= 2
        assert (result["ratio"] is None) == (result["theirs"] is None)
        assert (result["bar"] is None) == (result["met"] is None)


def test_the_page_gets_the_table(document: Any) -> None:
    """What stands between the marks is replaced, what stands around them stays."""
    page = document["page"]
    assert page.startswith("before\n<!-- plots -->\n### redis\n")
    assert "\n<!-- end -->\n<!-- results -->\nRun of" in page
    assert page.endswith("<!-- end -->\nafter\n")
    assert "old" not in page
    assert "| sqlite get |" in page


def test_a_missed_bar_fails_only_a_strict_run(tmp_path: Path, monkeypatch: Any) -> None:
    """`--strict` turns a missed bar into exit code 1; nothing else does."""
    never = Comparison("never", Side("ours", _takes(2)), Side("theirs", _takes(1)), at_most(0.001))
    monkeypatch.setitem(BENCHMARKS, "importing", lambda workshop: iter([never]))
    arguments = ["importing", "--quick", "--json", str(tmp_path / "run.json")]
    assert main(arguments) == 0
    assert main([*arguments, "--strict"]) == 1


def test_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that was mistyped is not an empty run."""
    with pytest.raises(SystemExit) as caught:
        main(["imbedded"])
    assert caught.value.code == 2
    assert "imbedded" in capsys.readouterr().err


def test_sides_take_turns() -> None:
    """No side always comes first, and both have the same number of rounds."""
    turns: list[str] = []

    def side(name: str) -> Side:
        def repeat(count: int) -> float:
            turns.append(name)
            return 1.0

        return Side(name, repeat)

    plan = Plan(rounds=4, fewest=4, warm_up=0, budget=0)
    result = measure("x", Comparison("x", side("a"), side("b")), plan)
    assert "".join(turns[2:]) == "baabbaab"  # the first two find out how long a call takes
    assert result.theirs is not None
    assert len(result.ours.rounds) == len(result.theirs.rounds) == 4


def test_a_dictionary_shrinks_small_states_several_times() -> None:
    """About four times on generated states and three on airports; nothing else reaches 1.3."""
    for values, least in ((compression.states(), 3.5), (compression.airports(), 2.6)):
        assert 150 < sum(map(len, values)) / len(values) < 250
        learned, *others = compression.ratios(values).values()
        assert learned > least
        assert all(1 < ratio < 1.35 for ratio in others)


def test_the_cache_is_worth_its_policy() -> None:
    """It beats an LRU where requests are skewed, by far where they are scanned.

    It may fall a little behind where what is hot changes very often.
    """
    for (what, trace), least in zip(
        caching.traces(100_000).items(), (0.03, 0.06, -0.05), strict=True
    ):
        policies = caching.policies()
        ours = caching.rate(policies["statekeep memory"], trace)
        assert ours >= caching.rate(policies["cachebox LRU"], trace) + least, what


@pytest.mark.parametrize(
    ("of", "most", "met"),
    [
        ("ratio", 2.0, True),
        ("ratio", 1.9, False),
        ("ours", 20.0, True),
        ("ours", 19.0, False),
        ("more", 10.0, True),
        ("more", 9.0, False),
    ],
)
def test_what_a_bar_compares(of: str, most: float, met: bool) -> None:
    """The ratio of the medians, ours alone, or ours minus theirs."""
    ours, theirs = Timing("a", (19.0, 20.0, 90.0)), Timing("b", (9.0, 10.0, 11.0))
    assert Result("x", "x", ours, theirs, Bar(of, most, ""), "").met is met


def _takes(seconds: float) -> Any:
    return lambda count: seconds * count


def test_the_pages_on_choosing_and_tuning_get_their_tables(document: Any, tmp_path: Path) -> None:
    """Each setting has a row with what it loses; each store with what its values occupy."""
    results = [
        Result(
            each["benchmark"], each["name"], timed(each["ours"]), timed(each["theirs"]), None, ""
        )
        for each in document["results"]
        if each["benchmark"] == choosing.BENCHMARK
    ]
    table = choosing.latency_table(results)
    for setting, loses in choosing.LOSES.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| {setting} |"))
        assert row.endswith(f"| {loses} |")
        assert all(cell.strip() for cell in row.split("|")[4:-1]), "a write that was not measured"
    assert [line.split(" | ")[0] for line in choosing.batch_table(results).splitlines()[2:]] == [
        "| SQLite", "| Redis", "| PostgreSQL", "| MariaDB",
    ]  # fmt: skip
    rows = list(choosing.rooms(islice(choosing.stores(tmp_path), 2), 200_000))
    assert [(name, size) for name, size, _ in rows] == [("SQLite", size) for size in choosing.SIZES]
    for _, _, (plain, *packed) in rows[1:]:
        assert plain > 1 > max(packed)


def timed(side: Any) -> Any:
    """A side of a result, as it was before it became JSON."""
    return side and Timing(side["label"], tuple(side["rounds"]))
