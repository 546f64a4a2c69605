"""`list`."""

import pytest


@pytest.fixture
def filled(run):
    for key in ("a/1", "a/2", "b/1"):
        run("put", key, "value of " + key)
    run("set", "add", "tag/eu", "a/1")
    run("deferred", "schedule", "q", "m", "payload", "--at", "2030-01-01T00:00:00Z")
    return run


def test_values_with_versions_and_sizes(filled) -> None:
    """A line each, tab-separated: key, version, size, expiry."""
    lines = filled("list").lines
    assert [line.split("\t")[0] for line in lines] == ["a/1", "a/2", "b/1"]
    assert all(line.split("\t")[2:] == ["12", "-"] for line in lines)


def test_values_as_json_lines(filled) -> None:
    """An object a line, each complete; the value only when asked for."""
    found = filled("list", "a/", "--json").jsons
    assert [row["key"] for row in found] == ["a/1", "a/2"]
    assert set(found[0]) == {"key", "version", "size", "expires"}
    found = filled("list", "a/1", "--json", "--values").jsons
    assert (found[0]["value"], found[0]["encoding"]) == ("value of a/1", "utf-8")
    assert filled("list", "a/1", "--values").lines[0].endswith("\tvalue of a/1")


def test_prefix_and_limit(filled) -> None:
    """Only what begins so, and at most so many; nothing found is an empty list."""
    assert len(filled("list", "a").lines) == 2
    assert len(filled("list", "--limit", "1").lines) == 1
    nothing = filled("list", "nothing")
    assert (nothing.code, nothing.raw) == (0, b"")
    assert filled("list", "--limit", "0").code == 2


def test_sets(filled) -> None:
    """Their keys."""
    assert filled("list", "--kind", "sets").lines == ["tag/eu"]
    assert filled("list", "--kind", "sets", "--json").json == {"key": "tag/eu"}


def test_deferred_messages_of_all_queues(filled) -> None:
    """With their times, without their tokens; the payload when asked for."""
    due = "2030-01-01T00:00:00Z"
    assert filled("list", "--kind", "deferred").lines == [f"q\tm\t{due}\t{due}\t0\t7"]
    row = filled("list", "--kind", "deferred", "--json").json
    assert row == {"queue": "q", "id": "m", "due": due, "visible": due, "attempt": 0, "size": 7}
    assert filled("list", "--kind", "deferred", "--json", "--values").json["payload"] == "payload"


def test_more_than_a_page(run) -> None:
    """Every record once, and a limit across pages is kept."""
    import statekeep

    with statekeep.open() as storage:
        storage.values.put_many({f"k/{number:04}": b"v" for number in range(2500)})
    assert len(run("list").lines) == 2500
    assert len(run("list", "--limit", "1700").lines) == 1700


def test_control_characters_stay_in_their_line(run) -> None:
    """A key with a line end or an escape sequence is shown, not obeyed; JSON is exact."""
    key = "red\x1b[31m\nkey\tand"
    run("put", key, "v")
    (line,) = run("list").lines
    assert line.split("\t")[0] == r"red\x1b[31m\nkey\tand"
    assert run("list", "--json").json["key"] == key
