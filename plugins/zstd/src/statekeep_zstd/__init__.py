"""The compressor `zstd`: small and fast, and with a trained dictionary small for small values."""

from statekeep_zstd.config import ZstdConfig

__all__ = ["ZstdConfig"]
