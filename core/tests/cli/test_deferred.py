"""`deferred schedule|list|claim|ack|release|extend|cancel`."""

import pytest

DUE = ("--at", "2020-01-01T00:00:00Z")


def claimed(run) -> str:
    """Schedules a message that is due, claims it, and returns its token."""
    run("deferred", "schedule", "q", "m", "payload", *DUE)
    return run("deferred", "claim", "q", "--json").json["token"]


def test_a_worker_in_shell(run) -> None:
    """Schedule, claim, acknowledge, in plain lines; then nothing is due: exit code 1."""
    assert run("deferred", "schedule", "q", "m", "payload", "--in", "0s").raw == b""
    id, token, attempt, _, payload = run("deferred", "claim", "q").out.strip().split("\t")
    assert (id, attempt, payload) == ("m", "1", "payload")
    assert run("deferred", "ack", "q", id, token).raw == b""
    done = run("deferred", "claim", "q")
    assert (done.code, done.err) == (1, "statekeep: nothing is due in 'q'\n")


def test_json(run) -> None:
    """Every command of the group, with what a program needs."""
    name = {"queue": "q", "id": "m"}
    assert run("deferred", "schedule", "q", "m", "text", *DUE, "--json").json == {
        **name,
        "size": 4,
        "scheduled": True,
    }
    listed = run("deferred", "list", "q", "--json").json
    assert (listed["payload"], listed["encoding"], listed["attempt"]) == ("text", "utf-8", 0)
    assert "token" not in listed
    token = run("deferred", "claim", "q", "--json", "--lease", "1h").json["token"]
    extended = run("deferred", "extend", "q", "m", token, "--lease", "2h", "--json")
    assert extended.json == {**name, "extended": True}
    released = run("deferred", "release", "q", "m", token, "--json")
    assert released.json == {**name, "released": True}
    token = run("deferred", "claim", "q", "--json").json["token"]
    assert run("deferred", "ack", "q", "m", token, "--json").json == {**name, "acknowledged": True}
    run("deferred", "schedule", "q", "m", *DUE)
    assert run("deferred", "cancel", "q", "m", "--json").json == {**name, "cancelled": True}


def test_list_shows_what_is_not_due_yet(run) -> None:
    """In the order of ids, with times, attempt, size and payload; binary payloads as base64."""
    run(
        "deferred",
        "schedule",
        "q",
        "later",
        "-",
        "--at",
        "2130-06-01T12:00:00+02:00",
        stdin=b"\xff",
    )
    when = "2130-06-01T10:00:00Z"
    assert run("deferred", "list", "q").lines == [f"later\t{when}\t{when}\t0\t1\tbase64:/w=="]
    assert run("deferred", "list", "other").raw == b""
    assert run("deferred", "claim", "q").code == 1


def test_several_at_once(run) -> None:
    """`--limit` bounds a claim and a list; earliest due first."""
    for day, id in enumerate(("c", "b", "a"), 1):
        run("deferred", "schedule", "q", id, "--at", f"2020-01-0{day}T00:00:00Z")
    assert [row["id"] for row in run("deferred", "claim", "q", "--limit", "2", "--json").jsons] == [
        "c",
        "b",
    ]
    assert len(run("deferred", "list", "q", "--limit", "2").lines) == 2


@pytest.mark.parametrize("verb", ["ack", "release", "extend"])
def test_a_stale_token_changes_nothing(run, verb: str) -> None:
    """Exit code 3 and the message's name; the holder's token still works."""
    token = claimed(run)
    refused = run("deferred", verb, "q", "m", "stale", "--json")
    assert refused.code == 3
    assert (refused.error["error"], refused.error["lost"]) == ("LeaseLost", [["q", "m"]])
    assert run("deferred", verb, "q", "m", token).code == 0


def test_release_with_a_delay(run) -> None:
    """The message is not due again before."""
    token = claimed(run)
    assert run("deferred", "release", "q", "m", token, "--delay", "1h").code == 0
    assert run("deferred", "claim", "q").code == 1


def test_cancel_says_whether_there_was_one(run) -> None:
    """Exit code 0 once, then 1."""
    claimed(run)
    assert run("deferred", "cancel", "q", "m").code == 0
    refused = run("deferred", "cancel", "q", "m")
    assert (refused.code, refused.err) == (1, "statekeep: there is no message 'm' in 'q'\n")


@pytest.mark.parametrize(
    ("when", "advice"),
    [
        ((), "either --in TIME or --at ISO8601"),
        (("--in", "1s", *DUE), "either --in TIME or --at ISO8601"),
        (("--at", "2030-01-01T00:00:00"), "names no time zone"),
        (("--at", "tomorrow"), "say 2030-01-31T12:00:00Z"),
        (("--in", "5 minutes"), "say 250ms, 30s, 5m"),
    ],
)
def test_times_that_cannot_be_meant(run, when: tuple[str, ...], advice: str) -> None:
    """Exit code 2 and what to say instead."""
    refused = run("deferred", "schedule", "q", "m", *when)
    assert refused.code == 2
    assert advice in refused.err


def test_a_payload_from_a_file(run, elsewhere) -> None:
    """Its bytes."""
    (elsewhere / "payload").write_bytes(b"from a file")
    run("deferred", "schedule", "q", "m", "--file", "payload", *DUE)
    assert run("deferred", "list", "q", "--json").json["payload"] == "from a file"
