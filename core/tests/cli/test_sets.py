"""`set members`, `set add`, `set remove`."""

import pytest


def test_members_line_by_line(run) -> None:
    """What was added and not removed; a change is silent in a pipe."""
    assert run("set", "add", "tag", "a", "b", "c").raw == b""
    assert run("set", "remove", "tag", "b", "x").raw == b""
    assert run("set", "members", "tag").lines == ["a", "c"]


def test_json(run) -> None:
    """Confirmations count the members given; members are an object each."""
    assert run("set", "add", "tag", "a", "b", "a", "--json").json == {"key": "tag", "added": 2}
    assert run("set", "remove", "tag", "b", "--json").json == {"key": "tag", "removed": 1}
    assert run("set", "members", "tag", "--json").json == {"member": "a", "encoding": "utf-8"}


@pytest.mark.parametrize(("option", "text"), [("--hex", "00ff"), ("--base64", "AP8=")])
def test_binary_members(run, option: str, text: str) -> None:
    """Given and shown as asked; without asking, base64 that says so."""
    assert run("set", "add", "tag", option, text).code == 0
    assert run("set", "members", "tag", option).lines == [text]
    assert run("set", "members", "tag").lines == ["base64:AP8="]
    assert run("set", "members", "tag", "--json").json == {"member": "AP8=", "encoding": "base64"}
    assert run("set", "remove", "tag", option, text).code == 0
    assert run("set", "members", "tag").code == 1


def test_arguments_that_are_not_what_they_say(run) -> None:
    """Exit code 2, naming the argument."""
    assert "'xyz' is not hexadecimal" in run("set", "add", "tag", "--hex", "xyz").err
    assert "'A' is not base64" in run("set", "add", "tag", "--base64", "A").err
    assert run("set", "add", "tag", "a", "--hex", "--base64").code == 2
    assert "MEMBER" in run("set", "add", "tag").err


def test_no_such_set(run) -> None:
    """Exit code 1."""
    run("put", "k", "v")
    refused = run("set", "members", "tag")
    assert (refused.code, refused.err) == (1, "statekeep: there is no set 'tag'\n")
