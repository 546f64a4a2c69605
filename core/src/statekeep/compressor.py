"""The contract of a compressor, and those of the standard library."""

from __future__ import annotations

import bz2
from abc import ABC, abstractmethod
from collections.abc import Sequence

from attrs import frozen

from statekeep import deflate
from statekeep.errors import CorruptValue
from statekeep.hookspecs import CompressorPlugin, hookimpl
from statekeep.options import between, option


class Compressor(ABC):
    """Makes bytes smaller and restores them. Called from any thread."""

    @abstractmethod
    def compress(self, data: bytes) -> bytes:
        """The data in fewer bytes, or in more; the caller stores the shorter of the two."""

    @abstractmethod
    def decompress(self, data: bytes, size: int) -> bytes:
        """The original data, which has exactly `size` bytes; never makes more than that + 1.

        Raises:
            CorruptValue: `data` was not made by `compress`.
            PluginError: what it takes to read `data`, such as a dictionary, is not there.
        """


@frozen
class TrainedDictionary:
    """What training made; `id` stands in everything that is compressed with it."""

    id: int
    content: bytes


class Trainable(Compressor):
    """A compressor that can learn what many small values have in common.

    Optional: `statekeep dictionary train` asks for it, nothing else does. It is part of the
    contract because the command reads a storage, which is the core's, and trains, which only the
    plugin can, and neither may import the other.
    """

    @abstractmethod
    def train(self, samples: Sequence[bytes], size: int) -> TrainedDictionary:
        """A dictionary of at most `size` bytes.

        Raises:
            InvalidArgument: the samples are too few, too short, or have nothing in common.
        """

    @abstractmethod
    def with_dictionary(self, dictionary: bytes | None) -> Compressor:
        """The same compressor and level, writing with this dictionary, or without any."""


@frozen(kw_only=True)
class DeflateConfig:
    """Deflate in the zlib format (RFC 1950), as the JVM's `deflate` writes it."""

    level: int = option(6, "1 fast to 9 small", between(1, 9))


@frozen(kw_only=True)
class GzipConfig:
    """Deflate in the gzip format (RFC 1952): a good balance, readable by every tool."""

    level: int = option(6, "1 fast to 9 small", between(1, 9))


@frozen(kw_only=True)
class Bzip2Config:
    """bzip2: smaller than gzip, ten times slower."""

    level: int = option(9, "1 to 9: blocks of 100 to 900 KB", between(1, 9))


class ZlibCompressor(Compressor):
    """Deflate, framed as `wbits` says: 15 zlib, 31 gzip (see zlib's manual, deflateInit2).

    What one implementation of `statekeep.deflate` writes, every other reads.
    """

    def __init__(self, level: int, wbits: int) -> None:
        self._use = deflate.implementation(level)
        self._wbits = wbits

    def compress(self, data: bytes) -> bytes:
        """See `Compressor.compress`."""
        return self._use.compress(data, self._wbits)

    def decompress(self, data: bytes, size: int) -> bytes:
        """See `Compressor.decompress`."""
        machine = self._use.decompressor(self._wbits)
        try:
            result: bytes = machine.decompress(data, size + 1)
        except (self._use.error, OverflowError, MemoryError) as error:
            raise CorruptValue(f"deflate data is damaged: {error}") from error
        if not machine.eof or machine.unused_data:
            raise CorruptValue("deflate data does not end where it should")
        return result


class Bzip2Compressor(Compressor):
    """bzip2 of the standard library."""

    def __init__(self, level: int) -> None:
        self._level = level

    def compress(self, data: bytes) -> bytes:
        """See `Compressor.compress`."""
        return bz2.compress(data, self._level)

    def decompress(self, data: bytes, size: int) -> bytes:
        """See `Compressor.decompress`."""
        machine = bz2.BZ2Decompressor()
        try:
            result = machine.decompress(data, size + 1)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            raise CorruptValue(f"bzip2 data is damaged: {error}") from error
        if not machine.eof or machine.unused_data:
            raise CorruptValue("bzip2 data does not end where it should")
        return result


def _gzip(config: GzipConfig) -> Compressor:
    return ZlibCompressor(config.level, wbits=31)


def _deflate(config: DeflateConfig) -> Compressor:
    return ZlibCompressor(config.level, wbits=15)


def _bzip2(config: Bzip2Config) -> Compressor:
    return Bzip2Compressor(config.level)


@hookimpl
def statekeep_compressors() -> list[CompressorPlugin]:
    """The compressors that need nothing but the standard library."""
    return [
        CompressorPlugin(name="gzip", config=GzipConfig, factory=_gzip),
        CompressorPlugin(name="bzip2", config=Bzip2Config, factory=_bzip2),
        CompressorPlugin(name="deflate", config=DeflateConfig, factory=_deflate),
    ]
