"""Backends by their options, in a module that child processes can import."""

from __future__ import annotations

from typing import Any

from statekeep_postgres import PostgresConfig
from statekeep_postgres.backend import PostgresBackend


def open_postgres(options: dict[str, Any]) -> PostgresBackend:
    """A PostgreSQL backend with these options, set up. Few idle connections: tests open many."""
    backend = PostgresBackend(PostgresConfig(**{"minimum_idle": 0, **options}))
    try:
        backend.setup()
    except BaseException:
        backend.close()
        raise
    return backend
