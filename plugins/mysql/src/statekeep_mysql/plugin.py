"""What this package offers to statekeep."""

from __future__ import annotations

from collections.abc import Sequence

from statekeep import hookimpl
from statekeep.backend import Backend
from statekeep.hookspecs import BackendPlugin
from statekeep.servers import Server
from statekeep.sql.addresses import read_url

from statekeep_mysql.config import InfiniticMysqlConfig, MysqlConfig


def _backend(config: MysqlConfig) -> Backend:
    from statekeep_mysql.backend import MysqlBackend

    return MysqlBackend(config)


def _infinitic(config: InfiniticMysqlConfig) -> Backend:
    from statekeep_mysql.infinitic import InfiniticMysql

    return InfiniticMysql(config)


def _servers(config: MysqlConfig) -> Sequence[Server]:
    from statekeep_mysql.hailing import servers

    return servers(config)


@hookimpl
def statekeep_backends() -> list[BackendPlugin]:
    """The backend `mysql`, and `infinitic_mysql`, which reads what Infinitic wrote."""
    return [
        BackendPlugin(
            name="mysql",
            config=MysqlConfig,
            factory=_backend,
            aliases=("mariadb",),
            read_url=read_url,
            servers=_servers,
        ),
        BackendPlugin(
            name="infinitic_mysql",
            config=InfiniticMysqlConfig,
            factory=_infinitic,
            aliases=("infinitic_mariadb",),
            read_url=read_url,
            envelopes=False,
            servers=_servers,
        ),
    ]
