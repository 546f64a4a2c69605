"""The compressor `lz4`: the least time for a fair ratio."""

from statekeep_lz4.config import Lz4Config

__all__ = ["Lz4Config"]
