"""Backends by their options, in a module that child processes can import."""

from __future__ import annotations

from typing import Any

from statekeep_mysql import MysqlConfig
from statekeep_mysql.backend import MysqlBackend

from tests.servers.mysql import PASSWORD

APP = {"username": "app", "password": PASSWORD}


def open_mysql(options: dict[str, Any]) -> MysqlBackend:
    """A MySQL backend with these options, set up. Few idle connections: tests open many."""
    backend = MysqlBackend(MysqlConfig(**{"minimum_idle": 0, **APP, **options}))
    try:
        backend.setup()
    except BaseException:
        backend.close()
        raise
    return backend
