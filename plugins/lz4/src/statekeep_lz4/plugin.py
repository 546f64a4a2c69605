"""What this package offers to statekeep."""

from __future__ import annotations

from statekeep import hookimpl
from statekeep.compressor import Compressor
from statekeep.hookspecs import CompressorPlugin

from statekeep_lz4.config import Lz4Config


def _compressor(config: Lz4Config) -> Compressor:
    from statekeep_lz4.compressor import Lz4Compressor

    return Lz4Compressor(config)


@hookimpl
def statekeep_compressors() -> list[CompressorPlugin]:
    """The compressor `lz4`."""
    return [CompressorPlugin(name="lz4", config=Lz4Config, factory=_compressor)]
