"""Calls over a connection of their own, by themselves."""

from __future__ import annotations

from statekeep.pending import CallAgain, Steps, begun


def test_a_call_with_nothing_to_send_gives_its_connection_back() -> None:
    """Nor does one that cannot be sent keep it; the blocking method is for both."""

    def empty() -> Steps[str]:
        return "done"
        yield

    def refused() -> Steps[str]:
        raise CallAgain("too large")
        yield

    given_back: list[str] = []
    assert begun(empty(), lambda: given_back.append("empty")) is None
    assert begun(refused(), lambda: given_back.append("refused")) is None
    assert given_back == ["empty", "refused"]
