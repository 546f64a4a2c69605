"""Every call to the library `zstandard`, and its errors translated."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard
from statekeep.errors import CorruptValue, InvalidArgument
from zstandard import ZstdCompressionDict, ZstdCompressor, ZstdDecompressor, ZstdError

NO_DICTIONARY = 0
"""The id in a frame that needs none."""


class Dictionary:
    """A trained dictionary.

    Args:
        content: what training made.
        level: prepared for writing at this level; None for reading only.

    Raises:
        InvalidArgument: the content is no trained dictionary.
    """

    def __init__(self, content: bytes, level: int | None = None) -> None:
        try:
            self.loaded = ZstdCompressionDict(content, zstandard.DICT_TYPE_FULLDICT)
            self.id = self.loaded.dict_id()
            if self.id != NO_DICTIONARY and level is not None:
                self.loaded.precompute_compress(level=level)
            if self.id != NO_DICTIONARY:
                ZstdDecompressor(dict_data=self.loaded).decompress(EMPTY_FRAME)
        except (ZstdError, ValueError, MemoryError) as error:
            raise InvalidArgument(f"damaged: {error}") from error
        if self.id == NO_DICTIONARY:
            raise InvalidArgument("not a trained dictionary of zstd")


class Contexts(threading.local):
    """What compresses and decompresses; not to be shared by threads, and dear to make anew."""

    def __init__(self, level: int, dictionary: Dictionary | None) -> None:
        loaded = None if dictionary is None else dictionary.loaded
        self.compressor = ZstdCompressor(level=level, dict_data=loaded)
        self.decompressors = {NO_DICTIONARY: ZstdDecompressor()}

    def compress(self, data: bytes) -> bytes:
        """A frame with its original length, and with its dictionary's id where there is one."""
        return self.compressor.compress(data)

    def decompress(self, data: bytes, size: int, dictionary: Dictionary | None) -> bytes:
        """The `size` bytes of a frame that says it has that many.

        Raises:
            CorruptValue: the frame is damaged.
        """
        try:
            return self._decompressor(dictionary).decompress(data, size, allow_extra_data=False)
        except (ZstdError, MemoryError, OverflowError) as error:
            raise CorruptValue(f"zstd data is damaged: {error}") from error

    def _decompressor(self, dictionary: Dictionary | None) -> ZstdDecompressor:
        number = NO_DICTIONARY if dictionary is None else dictionary.id
        if dictionary is not None and number not in self.decompressors:
            self.decompressors[number] = ZstdDecompressor(dict_data=dictionary.loaded)
        return self.decompressors[number]


def frame(data: bytes) -> tuple[int, int]:
    """The original length that a frame claims, and the id of its dictionary.

    Raises:
        CorruptValue: it has no header of a frame.
    """
    try:
        found = zstandard.get_frame_parameters(data)
    except (ZstdError, ValueError) as error:
        raise CorruptValue(f"zstd data is damaged: {error}") from error
    return found.content_size, found.dict_id


def train(samples: Sequence[bytes], size: int, level: int) -> bytes:
    """A dictionary of at most `size` bytes.

    Raises:
        InvalidArgument: the samples are too few or too short.
    """
    try:
        return zstandard.train_dictionary(size, list(samples), level=level).as_bytes()
    except (ZstdError, ValueError, MemoryError) as error:
        raise InvalidArgument(
            f"zstd cannot train {size} bytes from {len(samples)} samples of "
            f"{sum(map(len, samples))} bytes: {error}; give more samples or a smaller size"
        ) from error


EMPTY_FRAME = ZstdCompressor().compress(b"")
