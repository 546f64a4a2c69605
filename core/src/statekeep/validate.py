"""What an argument must look like, checked before anything is sent.

The limits are those of the contract (section 3 of the design); one place for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from statekeep.errors import InvalidArgument

T = TypeVar("T")

MAX_KEY_BYTES = 1024
MAX_MEMBER_BYTES = 1024
MAX_PAGE = 10_000
MAX_CLAIM = 10_000
MAX_DURATION = timedelta(days=36_525)  # a century: beyond it a duration is a mistake of unit


def key(value: object, name: str = "key") -> str:
    """A key, queue or message id: `str`, 1 to 1024 bytes of UTF-8, no NUL."""
    if type(value) is not str:
        value = _subclass(value, str, name)
    if not value.isascii():
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{name} is not valid Unicode: {error.reason}") from error
    else:
        size = len(value)
    if not 0 < size <= MAX_KEY_BYTES:
        raise InvalidArgument(f"{name} must be 1 to {MAX_KEY_BYTES} bytes of UTF-8, got {size}")
    if "\0" in value:
        raise InvalidArgument(f"{name} must not contain NUL: {value[:80]!r}")
    return value


def keys(value: Iterable[str]) -> tuple[str, ...]:
    """Several keys, each once, in their order."""
    if isinstance(value, str):
        raise InvalidArgument("keys must be several keys, not one str")
    return tuple(dict.fromkeys(key(each) for each in value))


def prefix(value: object) -> str:
    """A prefix of keys: as a key, but it may be empty."""
    return "" if value == "" else key(value, "prefix")


def member(value: object) -> bytes:
    """A member of a key-set: `bytes`, 1 to 1024 of them."""
    value = _subclass(value, bytes, "member")
    if not 0 < len(value) <= MAX_MEMBER_BYTES:
        raise InvalidArgument(f"a member must be 1 to {MAX_MEMBER_BYTES} bytes, got {len(value)}")
    return value


def value(value: object, name: str = "value") -> bytes:
    """A value or payload: `bytes` of any content; its size is the backend's to limit."""
    return _subclass(value, bytes, name)


def size(data: bytes, limit: int, what: str) -> None:
    """Refuses data that the backend cannot hold."""
    if len(data) > limit:
        raise InvalidArgument(
            f"{what} has {len(data)} bytes, this backend holds at most {limit} "
            "(capabilities.max_value_bytes)"
        )


def version(value: object, name: str = "expected") -> int:
    """A version to compare with: a whole number, 0 for absent."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgument(f"{name} must be an int, got {type(value).__name__}")
    if not 0 <= value < 2**63:
        raise InvalidArgument(
            f"{name} must be 0 (absent) or a positive version, got {_number(value)}"
        )
    return value


def duration(value: object, name: str, *, zero: bool = False) -> timedelta:
    """A time to live, lease or delay: a positive timedelta (or zero, where that has a meaning)."""
    if not isinstance(value, timedelta):
        raise InvalidArgument(f"{name} must be a timedelta, got {type(value).__name__}")
    least = timedelta(0) if zero else timedelta(microseconds=1)
    if not least <= value <= MAX_DURATION:
        raise InvalidArgument(
            f"{name} must be from {least} to {MAX_DURATION.days} days, got {value}"
        )
    return value


def due(value: object) -> datetime | timedelta:
    """When a message falls due: an aware datetime, or a timedelta from the server's now."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidArgument(f"due must be an aware datetime (with a time zone), got {value}")
        try:
            value.astimezone(UTC)
        except OverflowError:
            raise InvalidArgument(f"due must be from year 1 to 9999 in UTC, got {value}") from None
        return value
    if not isinstance(value, timedelta):
        raise InvalidArgument(
            f"due must be an aware datetime or a timedelta, got {type(value).__name__}"
        )
    if abs(value) > MAX_DURATION:
        raise InvalidArgument(f"due must be within {MAX_DURATION.days} days of now, got {value}")
    return value


def limit(value: object, most: int = MAX_PAGE, name: str = "limit") -> int:
    """How many records a page or claim may hold, or how often something is tried."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidArgument(f"{name} must be an int from 1 to {most}, got {_number(value)}")
    return value


def _number(value: object) -> str:
    """For a message; Python refuses to write numbers of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a number of {value.bit_length()} bits"
    return repr(value)


def _subclass(value: object, wanted: type[T], name: str) -> T:
    if not isinstance(value, wanted):
        raise InvalidArgument(f"{name} must be {wanted.__name__}, got {type(value).__name__}")
    return value
