"""What becomes of an error that ends a command."""

from __future__ import annotations

import pytest
from statekeep.cli.exits import FAULT, INTERRUPTED, guarded


def interrupted_join() -> None:
    """As `Thread.join` of Python 3.11 may end when its thread does in the same moment."""
    try:
        raise KeyboardInterrupt
    finally:
        raise RuntimeError("release unlocked lock")


def test_an_error_that_an_interrupt_caused_is_the_interrupt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is reported; the same error by itself is."""
    assert guarded(interrupted_join, []) == INTERRUPTED
    assert capsys.readouterr() == ("", "")

    def alone() -> None:
        raise RuntimeError("release unlocked lock")

    assert guarded(alone, []) == FAULT
    assert "release unlocked lock" in capsys.readouterr().err
