"""State in this process: a backend for development and tests, and a cache for any backend."""

from statekeep_memory.config import MemoryCacheConfig, MemoryConfig

__all__ = ["MemoryCacheConfig", "MemoryConfig"]
