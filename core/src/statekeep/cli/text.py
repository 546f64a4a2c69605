"""Between what is typed or shown and what is stored: bytes, durations, moments."""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d|w)")
DURATION = re.compile(rf"(?:{PART.pattern})+")
BASE64 = "base64"
UTF8 = "utf-8"


def duration(text: str) -> timedelta:
    """`30s`, `1h30m`, `250ms` as a timedelta.

    Raises:
        typer.BadParameter: it is not one.
    """
    if not DURATION.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is no duration: say 250ms, 30s, 5m, 2h, 1d or 1h30m")
    try:
        parts = (float(number) * UNITS[unit] for number, unit in PART.findall(text))
        return sum(parts, timedelta())
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is too long") from None


def moment(text: str) -> datetime:
    """An ISO 8601 time with its zone.

    Raises:
        typer.BadParameter: it is not one, or it names no zone.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: say 2030-01-31T12:00:00Z") from None
    if found.utcoffset() is None:
        raise typer.BadParameter(f"{text!r} names no time zone: add Z or +02:00")
    return found


def iso(when: datetime | None) -> str | None:
    """A time as it is shown, in UTC; None stays None."""
    return None if when is None else when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def seconds(time: timedelta | None) -> float | None:
    """A length of time in seconds; None stays None."""
    return None if time is None else time.total_seconds()


def encoded(data: bytes) -> tuple[str, str]:
    """Bytes as a text and what it is: `utf-8`, or `base64` where they are no text."""
    try:
        return data.decode("utf-8"), UTF8
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), BASE64


def printable(text: str) -> str:
    """A text without anything that a terminal or a line-based tool would act on."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def typed(text: str) -> bytes:
    """An argument as the very bytes that were typed, UTF-8 or not."""
    return os.fsencode(text)


def unhex(text: str) -> bytes:
    """Bytes from hexadecimal digits.

    Raises:
        typer.BadParameter: it is not hexadecimal.
    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not hexadecimal, such as 00ff") from None


def unbase64(text: str) -> bytes:
    """Bytes from base64.

    Raises:
        typer.BadParameter: it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise typer.BadParameter(f"{text!r} is not base64, such as AP8=") from None


def rebase64(data: bytes) -> bytes:
    """Bytes as base64, the inverse of `unbase64`."""
    return base64.b64encode(data)


def content(argument: str | None, file: Path | None, what: str, *, piped: bool) -> bytes | None:
    """The bytes that a command is given: an argument, `-` for stdin, a file, or what is piped.

    Args:
        argument: what was typed, or None.
        file: the file that was named, or None.
        what: what the bytes are, for an error.
        piped: read stdin, where it is no terminal, even if nothing asks for it.

    Returns:
        The bytes, or None where none are given.

    Raises:
        typer.BadParameter: two of them are given, or the file cannot be read.
    """
    if file is not None:
        if argument is not None:
            raise typer.BadParameter(f"the {what} is given twice: as an argument and as --file")
        try:
            return file.read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{file}: {error.strerror}") from error
    if argument not in (None, "-"):
        return typed(str(argument))
    if argument == "-" or (piped and sys.stdin is not None and not sys.stdin.isatty()):
        if sys.stdin is None:
            raise typer.BadParameter(f"the {what} is to be read from stdin, which is closed")
        return sys.stdin.buffer.read()
    return None
