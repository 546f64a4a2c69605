"""What this package offers to statekeep."""

from __future__ import annotations

from collections.abc import Sequence

from statekeep import hookimpl
from statekeep.backend import Backend
from statekeep.hookspecs import BackendPlugin
from statekeep.servers import Server
from statekeep.sql.addresses import read_url

from statekeep_postgres.config import InfiniticPostgresConfig, PostgresConfig


def _backend(config: PostgresConfig) -> Backend:
    from statekeep_postgres.backend import PostgresBackend

    return PostgresBackend(config)


def _infinitic(config: InfiniticPostgresConfig) -> Backend:
    from statekeep_postgres.infinitic import InfiniticPostgres

    return InfiniticPostgres(config)


def _servers(config: PostgresConfig) -> Sequence[Server]:
    from statekeep_postgres.hailing import servers

    return servers(config)


@hookimpl
def statekeep_backends() -> list[BackendPlugin]:
    """The backend `postgres`, and `infinitic_postgres`, which reads what Infinitic wrote."""
    return [
        BackendPlugin(
            name="postgres",
            config=PostgresConfig,
            factory=_backend,
            aliases=("postgresql",),
            read_url=read_url,
            servers=_servers,
        ),
        BackendPlugin(
            name="infinitic_postgres",
            config=InfiniticPostgresConfig,
            factory=_infinitic,
            aliases=("infinitic_postgresql",),
            read_url=read_url,
            envelopes=False,
            servers=_servers,
        ),
    ]
