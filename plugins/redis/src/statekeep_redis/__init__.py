"""State in Redis: one server, Sentinel, or Cluster."""

from statekeep_redis.config import PoolConfig, RedisConfig

__all__ = ["PoolConfig", "RedisConfig"]
