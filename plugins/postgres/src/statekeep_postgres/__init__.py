"""statekeep on PostgreSQL."""

from statekeep_postgres.config import PostgresConfig

__all__ = ["PostgresConfig"]
