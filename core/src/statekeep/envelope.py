"""How a value is stored: pure functions from value to stored bytes and back.

    magic 2 | format 1 | length of name 1 | name | original length 8 | CRC-32 4 | payload

The name is the compressor's, empty where the payload is the value itself. All integers are
big-endian. The CRC-32 (zlib's, ISO 3309) covers the key and the original value and, where it is
compressed, the header and the payload too: so damage to any stored bit is found (a plain
value's header has one right content), and so is a value that ended up under another key.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from zlib import crc32

from statekeep.compressor import Compressor
from statekeep.errors import CorruptValue, PluginError, StorageError

MAGIC = b"\xd5K"
FORMAT = 1
TAIL = struct.Struct(">QI")
"""The original length and the CRC."""

PREFIX_BYTES = 4
MAX_NAME_BYTES = 64
MAX_OVERHEAD = PREFIX_BYTES + MAX_NAME_BYTES + TAIL.size
"""How many bytes longer than the value the stored form can be."""

PLAIN = MAGIC + bytes((FORMAT, 0))
PLAIN_BYTES = PREFIX_BYTES + TAIL.size

unpack_tail = TAIL.unpack_from
pack_plain = struct.Struct(">4sQI").pack


def prefix(name: str) -> bytes:
    """The header up to the compressor's name; "" for values stored plain."""
    encoded = name.encode("ascii")
    if len(encoded) > MAX_NAME_BYTES:
        raise ValueError(f"a compressor's name must be at most {MAX_NAME_BYTES} bytes: {name!r}")
    return MAGIC + bytes((FORMAT, len(encoded))) + encoded


def wrap(key: str, value: bytes) -> bytes:
    """The stored form of a value, uncompressed."""
    return pack_plain(PLAIN, len(value), crc32(value, crc32(key.encode()))) + value


def wrap_compressed(key: str, value: bytes, head: bytes, compressor: Compressor) -> bytes:
    """The stored form of a value, compressed; plain where that would not shrink it.

    Args:
        key: the key that the value belongs to.
        value: the original bytes.
        head: `prefix()` of the compressor's name.
        compressor: makes the payload.
    """
    payload = compressor.compress(value)
    if len(head) - len(PLAIN) + len(payload) >= len(value):
        return wrap(key, value)
    size = len(value)
    crc = crc32(payload, crc32(value, _seed(key, head, size)))
    return head + TAIL.pack(size, crc) + payload


def unwrap(key: str, stored: bytes, compressor: Callable[[str], Compressor], limit: int) -> bytes:
    """The original value.

    Args:
        key: the key that it was found under.
        stored: what `wrap` or `wrap_compressed` made.
        compressor: finds a compressor by the name in the envelope.
        limit: no value is longer than this; a larger claim is damage.

    Raises:
        CorruptValue: the bytes are damaged, belong to another key, or are no envelope.
        PluginError: the compressor that made them, or its dictionary, is not there.
    """
    if stored[:PREFIX_BYTES] == PLAIN:
        value = stored[PLAIN_BYTES:]
        if len(stored) >= PLAIN_BYTES:
            size, crc = unpack_tail(stored, PREFIX_BYTES)
            if size == len(value) and crc == crc32(value, crc32(key.encode())):
                return value
        raise _corrupt(key, "its checksum, its length or its key does not match")
    return _unwrap_compressed(key, stored, compressor, limit)


def _unwrap_compressed(
    key: str, stored: bytes, compressor: Callable[[str], Compressor], limit: int
) -> bytes:
    if stored[:3] != PLAIN[:3] or len(stored) < PREFIX_BYTES:
        raise _corrupt(key, "it has no statekeep envelope of a known format")
    end = PREFIX_BYTES + stored[3]
    head, payload = stored[:end], stored[end + TAIL.size :]
    if len(stored) < end + TAIL.size or not head[PREFIX_BYTES:].isascii():
        raise _corrupt(key, "its header is cut off or damaged")
    size, crc = TAIL.unpack_from(stored, end)
    if size > limit:
        raise _corrupt(key, f"it claims {size} bytes, more than any value here has")
    name = head[PREFIX_BYTES:].decode("ascii")
    value = _decompress(key, compressor, name, payload, size)
    if len(value) != size or crc != crc32(payload, crc32(value, _seed(key, head, size))):
        raise _corrupt(key, "its checksum, its length or its key does not match")
    return value


def _decompress(
    key: str, compressor: Callable[[str], Compressor], name: str, payload: bytes, size: int
) -> bytes:
    try:
        return compressor(name).decompress(payload, size)
    except PluginError as error:  # nothing is damaged: what reads it is missing
        raise PluginError(f"the stored value of {key!r} cannot be read: {error}") from error
    except StorageError as error:
        raise _corrupt(key, str(error)) from error


def _seed(key: str, head: bytes, size: int) -> int:
    return crc32(b"%b\0%b%d" % (key.encode(), head, size))


def _corrupt(key: str, why: str) -> CorruptValue:
    return CorruptValue(
        f"the stored value of {key!r} cannot be used: {why}; restore it from a backup"
    )
