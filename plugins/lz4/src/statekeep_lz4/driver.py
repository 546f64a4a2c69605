"""Every call to the library `lz4`, and its errors translated."""

from __future__ import annotations

import lz4.block
from statekeep.errors import CorruptValue

FIRST_SLOW_LEVEL = 3
"""From here on LZ4's high-compression method is used, as in lz4's own frame format."""


def compress(data: bytes, level: int) -> bytes:
    """A block without its size: the envelope has it."""
    if level >= FIRST_SLOW_LEVEL:
        mode, acceleration = "high_compression", 1
    else:
        mode, acceleration = ("fast", 1 - level) if level < 0 else ("default", 1)
    packed: bytes = lz4.block.compress(
        data, mode=mode, acceleration=acceleration, compression=max(level, 0), store_size=False
    )
    return packed


def decompress(data: bytes, size: int) -> bytes:
    """At most `size` bytes from a block.

    Raises:
        CorruptValue: it is no such block, or it holds more.
    """
    try:
        unpacked: bytes = lz4.block.decompress(data, uncompressed_size=size)
    except (lz4.block.LZ4BlockError, MemoryError, OverflowError, ValueError) as error:
        raise CorruptValue(f"lz4 data is damaged: {error}") from error
    return unpacked
