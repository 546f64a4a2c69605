"""Cursors and key ranges for backends that page in the order of their keys."""

from __future__ import annotations

import base64
import binascii
import zlib

from statekeep.errors import InvalidArgument


def encode(scope: str, position: bytes) -> str:
    """A cursor that continues behind `position`, and only within `scope`.

    Args:
        scope: what is being paged through (a kind and prefix, a set's key): a cursor from another
            one is refused.
        position: the last key or member handed out, or what the backend finds it by.
    """
    return base64.urlsafe_b64encode(_check(scope, position) + position).decode("ascii")


def decode(scope: str, cursor: str | None) -> bytes | None:
    """The position of a cursor, or None at the start.

    Raises:
        InvalidArgument: the cursor was not made by `encode` with this scope.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raw = b""
    check, position = raw[:4], raw[4:]
    if len(raw) < 4 or check != _check(scope, position):
        raise InvalidArgument(
            f"cursor {str(cursor)[:40]!r} is not one of this scan: pass on the cursor of the page "
            "before, with the same key or prefix, or None to begin"
        )
    return position


def _check(scope: str, position: bytes) -> bytes:
    return zlib.crc32(position, zlib.crc32(scope.encode())).to_bytes(4, "big")


def prefix_end(prefix: str) -> str | None:
    """The first string behind all those that begin with `prefix`; None where there is none.

    In the order of code points, which is also the order of UTF-8 bytes.
    """
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if last == 0xD800 else last)
