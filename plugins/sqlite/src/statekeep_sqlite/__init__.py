"""State in one SQLite file: the durable backend that needs no server."""

from statekeep_sqlite.config import SqliteConfig

__all__ = ["SqliteConfig"]
