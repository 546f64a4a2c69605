"""Where servers are: host lists, unix sockets and `postgres://` URLs, all without a connection."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, unquote

from attrs import frozen


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
    return tuple(_address(each.strip(), port) for each in host.split(","))


def host_problem(host: str) -> str | None:
    """What is wrong with a host or list of hosts, or None."""
    for each in host.split(","):
        try:
            found = _address(each.strip(), 1)
        except ValueError:
            return "must have a port from 1 to 65535 behind the colon (IPv6 in brackets)"
        if not found.host or not 0 < found.port < 65536:
            return "must name a host, or several with commas: a.internal,b.internal:5433"
    return None


def read_url(parts: SplitResult) -> dict[str, Any]:
    """The options that `postgres://user:password@host:port/database` states, as libpq reads it."""
    user, at, hosts = parts.netloc.rpartition("@")
    found: dict[str, Any] = {}
    if at:
        name, _, password = user.partition(":")
        found = {"username": unquote(name), "password": unquote(password)}
    host, colon, port = hosts.rpartition(":")
    if "," not in hosts and colon and port.isdigit():
        found |= {"host": unquote(host), "port": int(port)}
    else:
        found["host"] = unquote(hosts)
    found["host"] = found["host"].removeprefix("[").removesuffix("]")
    found["database"] = unquote(parts.path.lstrip("/"))
    return {name: value for name, value in found.items() if value not in (None, "")}


def _address(text: str, port: int) -> Address:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return Address(host, int(rest[1:]) if rest.startswith(":") else port)
    if text.startswith("/") or text.count(":") != 1:
        return Address(text, port)
    host, _, own = text.partition(":")
    return Address(host, int(own))
