"""`stats`: totals, the largest, groups, queues."""

from __future__ import annotations

import pytest


@pytest.fixture
def filled(run):
    """Three values, a set and two messages."""
    for key, value in (("order/1", "1"), ("order/2", "22"), ("big", "x" * 500)):
        assert run("put", key, value).code == 0
    run("set", "add", "tag/eu", "a", "b")
    run("deferred", "schedule", "mail", "now", "--in", "0s", "payload")
    run("deferred", "schedule", "mail", "later", "--in", "1h")
    return run


def test_totals_have_the_pool_and_the_kinds(filled) -> None:
    """As one JSON object."""
    (row,) = filled("stats", "--json").jsons
    assert row["kinds"]["key_value"]["records"] == 3
    assert {"in_use", "idle", "waiting", "limit", "wait_seconds"} <= set(row["pool"])


def test_the_largest(filled) -> None:
    """A row each, sizes as they are stored."""
    rows = filled("stats", "--largest", "2", "--json").jsons
    assert (rows[0]["kind"], rows[0]["name"], rows[0]["records"]) == ("key_value", "big", 1)
    assert rows[0]["bytes"] > 500 > rows[1]["bytes"]
    lines = filled("stats", "--largest", "9", "--prefix", "tag/").lines
    assert lines == ["key_set\ttag/eu\t2\t2"]


def test_groups(filled) -> None:
    """By what names have in common."""
    rows = filled("stats", "--groups", "9", "--json").jsons
    assert ("key_value", "order/", 2) in [
        (row["kind"], row["name"], row["records"]) for row in rows
    ]
    assert filled("stats", "--groups", "1", "--separator", "g", "--json").jsons[0]["name"] == "big"


def test_queues(filled) -> None:
    """Ready, held, and the age of the oldest in seconds."""
    filled("deferred", "claim", "mail")
    (row,) = filled("stats", "--queues", "--json").jsons
    assert (row["queue"], row["messages"], row["ready"], row["held"]) == ("mail", 2, 0, 1)
    assert row["oldest"] is None


@pytest.mark.parametrize(
    "words",
    [
        ("--largest", "1", "--queues"),
        ("--prefix", "x"),
        ("--largest", "0"),
        ("--groups", "1", "--separator", ""),
    ],
)
def test_what_does_not_go_together_is_refused(filled, words: tuple[str, ...]) -> None:
    """With exit code 2, and before anything is read."""
    assert filled("stats", *words).code == 2
