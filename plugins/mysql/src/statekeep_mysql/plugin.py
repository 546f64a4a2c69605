"""What this package offers to statekeep."""

from __future__ import annotations

from collections.abc import Sequence

from statekeep import hookimpl
from statekeep.backend import Backend
from statekeep.hookspecs import BackendPlugin
from statekeep.servers import Server
from statekeep.sql.addresses import read_url

from statekeep_mysql.config import MysqlConfig


def _backend(config: MysqlConfig) -> Backend:
    from statekeep_mysql.backend import MysqlBackend

    return MysqlBackend(config)


def _servers(config: MysqlConfig) -> Sequence[Server]:
    from statekeep_mysql.hailing import servers

    return servers(config)


@hookimpl
def statekeep_backends() -> list[BackendPlugin]:
    """The backend `mysql`."""
    return [
        BackendPlugin(
            name="mysql",
            config=MysqlConfig,
            factory=_backend,
            aliases=("mariadb",),
            read_url=read_url,
            servers=_servers,
        )
    ]
