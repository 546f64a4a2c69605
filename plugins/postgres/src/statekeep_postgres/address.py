"""Where servers are, as libpq reads it."""

from __future__ import annotations

from attrs import frozen
from statekeep.sql.addresses import split_hosts


@frozen
class Address:
    """One server; a host that is a folder means the unix socket in it, as in libpq."""

    host: str
    port: int

    @property
    def socket_path(self) -> str | None:
        """The path of the unix socket; None where it is a network address."""
        return f"{self.host}/.s.PGSQL.{self.port}" if self.host.startswith("/") else None

    def __str__(self) -> str:
        return self.socket_path or f"{self.host}:{self.port}"


def addresses(host: str, port: int) -> tuple[Address, ...]:
    """The servers that `host` names: one, or several with commas; `port` where none is said."""
    return tuple(Address(*each) for each in split_hosts(host, port))
