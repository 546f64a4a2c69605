"""What this package offers to statekeep."""

from __future__ import annotations

from statekeep import hookimpl
from statekeep.backend import Backend
from statekeep.hookspecs import BackendPlugin

from statekeep_sqlite.config import SqliteConfig
from statekeep_sqlite.location import read_url


def _backend(config: SqliteConfig) -> Backend:
    from statekeep_sqlite.backend import SqliteBackend

    return SqliteBackend(config)


@hookimpl
def statekeep_backends() -> list[BackendPlugin]:
    """The backend `sqlite`."""
    return [
        BackendPlugin(
            name="sqlite",
            config=SqliteConfig,
            factory=_backend,
            aliases=("sqlite3",),
            read_url=read_url,
        )
    ]
