"""`get`, `put`, `delete`."""

import base64

import pytest

BINARY = bytes(range(256)) * 3


def test_put_prints_the_version_and_get_the_bytes(run) -> None:
    """Nothing is added to what was stored: no line end, no quotes."""
    version = int(run("put", "order/42", "paid").out)
    assert version > 0
    assert run("get", "order/42").raw == b"paid"
    assert int(run("put", "order/42", "shipped").out) == version + 1


def test_json_forms_of_put_and_get(run) -> None:
    """Both name the key; the value comes with its version, size, expiry and encoding."""
    put = run("put", "k", "grüße", "--json").json
    assert put == {"key": "k", "version": put["version"]}
    assert run("get", "k", "--json").json == {
        "key": "k",
        "version": put["version"],
        "size": 7,
        "expires": None,
        "value": "grüße",
        "encoding": "utf-8",
    }


@pytest.mark.parametrize("value", [b"", BINARY, b"\n", b"no end", b"\xff"])
def test_stdin_is_stored_byte_by_byte(run, value: bytes) -> None:
    """With `-`, without any value, and back out through `get`."""
    assert run("put", "k", "-", stdin=value).code == 0
    assert run("get", "k").raw == value
    assert run("put", "k", stdin=value + b"!").code == 0
    assert run("get", "k").raw == value + b"!"


def test_binary_is_base64_in_json(run) -> None:
    """`encoding` says so, whatever the bytes."""
    run("put", "k", stdin=BINARY)
    found = run("--json", "get", "k").json
    assert (found["encoding"], base64.b64decode(found["value"])) == ("base64", BINARY)


def test_a_value_from_a_file(run, elsewhere) -> None:
    """Its bytes; a missing file, or a value besides, is wrong usage."""
    (elsewhere / "value").write_bytes(BINARY)
    assert run("put", "k", "--file", "value").code == 0
    assert run("get", "k").raw == BINARY
    assert run("put", "k", "--file", "none").err == (
        "statekeep: none: No such file or directory (see: statekeep put --help)\n"
    )
    assert run("put", "k", "text", "--file", "value").code == 2


def test_expected_versions(run) -> None:
    """Zero is absent; a mismatch is exit code 3, writes nothing, and JSON has the version."""
    version = run("put", "k", "1", "--expected", "0").out.strip()
    refused = run("put", "k", "2", "--expected", "0", "--json")
    assert (refused.code, refused.raw) == (3, b"")
    assert refused.error["error"] == "VersionConflict"
    assert refused.error["current"] == {"k": int(version)}
    assert run("get", "k").raw == b"1"
    assert run("delete", "k", "--expected", "7").code == 3
    assert run("put", "k", "2", "--expected", version).code == 0


def test_time_to_live(run) -> None:
    """`--ttl` sets the expiry that `--meta` shows; a put without it lives for ever."""
    run("put", "k", "v", "--ttl", "1h30m")
    assert run("get", "k", "--meta", "--json").json["expires"].endswith("Z")
    run("put", "k", "v")
    assert run("get", "k", "--meta", "--json").json["expires"] is None


def test_meta_leaves_the_content_out(run) -> None:
    """In lines of name and value, and in JSON."""
    version = run("put", "k", "secret").out.strip()
    assert run("get", "k", "--meta").lines == [
        "key\tk",
        f"version\t{version}",
        "size\t6",
        "expires\t-",
    ]
    assert set(run("get", "k", "--meta", "--json").json) == {"key", "version", "size", "expires"}


def test_an_absent_key_is_a_no(run) -> None:
    """Exit code 1, nothing on stdout, one line on stderr, which is JSON where asked."""
    run("put", "other", "v")
    assert run("get", "k").err == "statekeep: 'k' is absent\n"
    refused = run("get", "k", "--json")
    assert (refused.code, refused.raw) == (1, b"")
    assert refused.error == {"error": "No", "message": "'k' is absent", "exit_code": 1}


def test_delete_says_whether_there_was_something(run) -> None:
    """Exit code 0 once, then 1; a pipe sees nothing, JSON a confirmation."""
    run("put", "k", "v")
    assert run("delete", "k", "--json").json == {"key": "k", "deleted": True}
    assert run("get", "k").code == 1
    refused = run("delete", "k")
    assert (refused.code, refused.err) == (1, "statekeep: 'k' was absent already\n")
    run("put", "k", "v")
    assert run("delete", "k").raw == b""


def test_keys_that_look_like_options(run) -> None:
    """Everything behind `--` is an argument."""
    assert run("put", "--", "--json", "-v").code == 0
    assert run("get", "--", "--json").raw == b"-v"
    assert run("get", "--", "--jsom").err == "statekeep: '--jsom' is absent\n"


@pytest.mark.parametrize("key", ["", "k" * 1025])
def test_keys_outside_the_contract(run, key: str) -> None:
    """Exit code 2 and the rule."""
    refused = run("put", key, "v")
    assert refused.code == 2
    assert "1 to 1024 bytes" in refused.err


def test_looking_creates_nothing(run, elsewhere) -> None:
    """In a folder without a store, only what adds something makes one."""
    for line in (
        ["get", "k"],
        ["list"],
        ["delete", "k"],
        ["stats"],
        ["purge"],
        ["set", "members", "s"],
        ["deferred", "claim", "q"],
        ["check"],
    ):
        refused = run(*line)
        assert refused.code == 1, line
    assert "there is no store yet: missing file" in run("get", "k").err
    assert list(elsewhere.iterdir()) == []
    assert run("put", "k", "v").code == 0
    assert (elsewhere / "statekeep.db").exists()
