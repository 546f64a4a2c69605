"""Between what is typed or shown and what is stored."""

from datetime import UTC, datetime, timedelta

import pytest
import typer
from statekeep.cli import text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("30s", timedelta(seconds=30)),
        ("250ms", timedelta(milliseconds=250)),
        ("1.5h", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("2w1d", timedelta(days=15)),
        ("0s", timedelta(0)),
    ],
)
def test_durations(typed: str, meant: timedelta) -> None:
    """Numbers with units, one or several."""
    assert text.duration(typed) == meant


@pytest.mark.parametrize("typed", ["", "30", "s", "-3s", "1h 30m", "1e9s", "999999999999w", "3y"])
def test_what_is_no_duration(typed: str) -> None:
    """A number without its unit above all: nobody can know what was meant."""
    with pytest.raises(typer.BadParameter):
        text.duration(typed)


def test_moments() -> None:
    """With their zone, shown in UTC."""
    assert text.moment("2030-01-01T02:00:00+02:00") == datetime(2030, 1, 1, tzinfo=UTC)
    assert text.iso(text.moment("2030-01-01T02:00:00+02:00")) == "2030-01-01T00:00:00Z"
    assert text.iso(None) is None


@pytest.mark.parametrize("shown", ["plain", "grüße", "日本", "a b"])
def test_ordinary_text_is_shown_as_it_is(shown: str) -> None:
    """Of any script."""
    assert text.printable(shown) == shown


def test_what_a_terminal_would_obey_is_spelled_out() -> None:
    """Control characters, and those that turn the direction of text."""
    assert text.printable("\x1b[2J\n\t\u202e\x9b") == "\\x1b[2J\\n\\t\\u202e\\x9b"
