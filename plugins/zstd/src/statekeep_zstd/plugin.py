"""What this package offers to statekeep."""

from __future__ import annotations

from statekeep import hookimpl
from statekeep.compressor import Compressor
from statekeep.hookspecs import CompressorPlugin

from statekeep_zstd.config import ZstdConfig


def _compressor(config: ZstdConfig) -> Compressor:
    from statekeep_zstd.compressor import ZstdCompressor, read_dictionaries

    dictionaries = read_dictionaries(config)
    writer = dictionaries[0] if dictionaries and config.write_with_dictionary else None
    return ZstdCompressor(config.level, writer, dictionaries)


@hookimpl
def statekeep_compressors() -> list[CompressorPlugin]:
    """The compressor `zstd`."""
    return [CompressorPlugin(name="zstd", config=ZstdConfig, factory=_compressor)]
