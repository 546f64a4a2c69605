"""Where servers are: lists of hosts and URLs, read without a connection."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, unquote


def split_hosts(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    """The servers that `hosts` names: one, or several with commas; `port` where none is said."""
    return tuple(_split(each.strip(), port) for each in hosts.split(","))


def host_problem(hosts: str) -> str | None:
    """What is wrong with a host or list of hosts, or None."""
    for each in hosts.split(","):
        try:
            host, port = _split(each.strip(), 1)
        except ValueError:
            return "must have a port from 1 to 65535 behind the colon (IPv6 in brackets)"
        if not host or not 0 < port < 65536:
            return "must name a host, or several with commas: a.internal,b.internal:5433"
    return None


def read_url(parts: SplitResult) -> dict[str, Any]:
    """The options that `scheme://user:password@host:port/database` states; hosts may be several."""
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


def _split(text: str, port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:]) if rest.startswith(":") else port
    if text.startswith("/") or text.count(":") != 1:
        return text, port
    host, _, own = text.partition(":")
    return host, int(own)
