"""The compressor contract in terms of LZ4 blocks."""

from __future__ import annotations

from statekeep.compressor import Compressor
from statekeep.errors import CorruptValue

from statekeep_lz4 import driver
from statekeep_lz4.config import Lz4Config

LARGEST_GAIN = 255
"""A byte of an LZ4 block stands for at most so many (a match's length grows by 255 with each byte
of its extension, see lz4_Block_format.md)."""


class Lz4Compressor(Compressor):
    """Blocks without header or checksum: the envelope has the size and a CRC."""

    def __init__(self, config: Lz4Config) -> None:
        self._level = config.level

    def compress(self, data: bytes) -> bytes:
        """See `Compressor.compress`."""
        return driver.compress(data, self._level)

    def decompress(self, data: bytes, size: int) -> bytes:
        """See `Compressor.decompress`. A size that no block of this length has takes no memory."""
        if size > LARGEST_GAIN * len(data):
            raise CorruptValue(f"lz4 data is damaged: {len(data)} bytes cannot hold {size}")
        unpacked = driver.decompress(data, size)
        if len(unpacked) != size:
            raise CorruptValue(f"lz4 data is damaged: {len(unpacked)} bytes instead of {size}")
        return unpacked
