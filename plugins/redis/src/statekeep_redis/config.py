"""The options of the Redis backend: names and defaults of the storage guide, and some beside."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from statekeep.errors import AccessDenied
from statekeep.infinitic import undecodable_option
from statekeep.options import OptionError, at_least, not_blank, option, positive
from statekeep.passwords import WAYS, command_option, one_way, printed

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379


def addresses(value: Any, default_port: int) -> tuple[tuple[str, int], ...]:
    """`["a:7000", "b"]`, or the same in one text with commas, as hosts and ports.

    Raises:
        ValueError: one of them is no address.
    """
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, Iterable) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{value!r} is no list of addresses")
    return tuple(_address(text.strip(), default_port) for text in texts)


def _address(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.endswith("]")):
        host, port = text, str(default_port)  # no port, or a bare IPv6 address
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no address")
    return host, int(port)


def _addresses(value: Any) -> str | None:
    try:
        addresses(value, DEFAULT_PORT)
    except ValueError:
        return 'must be addresses, such as ["redis-1:6379", "redis-2:6379"]'
    return None


def _prefix(value: str) -> str | None:
    opened, closed = value.find("{"), value.find("}")
    if (opened, closed) == (-1, -1):
        return None
    if "}" not in value[opened + 2 :] or opened < 0 or closed < opened:
        return "must hold a whole hash tag such as {app}, or no braces"
    return None


def _port(value: int) -> str | None:
    return None if 0 < value < 65536 else "must be > 0 and < 65536"


def _no_nodes(value: Any) -> str | None:
    return "must be empty: Infinitic keeps its state in one server" if value else None


def _most(value: int) -> str | None:
    return None if value > 0 or value == -1 else "must be > 0, or -1 for no bound"


@frozen(kw_only=True)
class PoolConfig:
    """The connection pool, one for each server."""

    max_total: int = option(-1, "connections to open at most, -1 for no bound", _most)
    max_idle: int = option(8, "idle connections to keep at most, -1 for no bound", at_least(-1))
    min_idle: int = option(0, "connections to keep open at least", at_least(0))


@frozen(kw_only=True)
class RedisConfig:
    """One server, a unix socket, a Sentinel group or a Cluster: exactly one of the four."""

    host: str | None = option(None, "the server's name or address", not_blank)
    port: int = option(DEFAULT_PORT, "the server's port", _port)
    unix_socket: str | None = option(None, "path of the server's socket, for host", not_blank)
    sentinels: Any = option((), "addresses of the Sentinels, for host", _addresses)  # noqa: RUF009  # it makes an attrs field
    master_name: str | None = option(None, "the name the Sentinels know it by", not_blank)
    sentinel_username: str | None = option(None, "the ACL user at the Sentinels")
    sentinel_password: str | None = option(None, "the password at the Sentinels", secret=True)
    nodes: Any = option((), "addresses of some nodes of a Cluster, for host", _addresses)  # noqa: RUF009  # likewise

    username: str | None = option(None, "the ACL user; Redis' default user without it")
    password: str | None = option(None, "the password", secret=True)
    password_file: str | None = option(
        None, "a file with the password, read again for every new connection", not_blank
    )
    password_env: str | None = option(
        None, "an environment variable with it, read again for every new connection", not_blank
    )
    password_command: Any = command_option()  # noqa: RUF009  # it makes an attrs field
    database: int = option(0, "the database's index; a Cluster has only 0", at_least(0))
    timeout: int = option(2000, "milliseconds until a call gives up", positive)

    ssl: bool = option(False, "connect with TLS")
    ssl_ca_file: str | None = option(None, "PEM file of the authorities to trust; the system's")
    ssl_cert_file: str | None = option(None, "PEM file of the client's certificate")
    ssl_key_file: str | None = option(None, "PEM file of the client's key")
    ssl_key_password: str | None = option(None, "the password of the key's file", secret=True)
    ssl_check_hostname: bool = option(True, "whether the certificate must name the host")

    prefix: str = option("statekeep:", "what every key in Redis begins with", not_blank, _prefix)
    pool_config: PoolConfig = option(PoolConfig(), "the connection pool")  # noqa: RUF009  # likewise
    max_total: int | None = option(None, "the same as pool_config.max_total", _most)
    max_idle: int | None = option(None, "the same as pool_config.max_idle", at_least(-1))
    min_idle: int | None = option(None, "the same as pool_config.min_idle", at_least(0))
    idle_check: float = option(
        10.0, "seconds of idleness after which a connection is tried before its use", at_least(0)
    )
    wait_replicas: int = option(0, "replicas that must confirm every write (WAIT)", at_least(0))
    wait_timeout: int = option(1000, "milliseconds to wait for those replicas", positive)

    def __attrs_post_init__(self) -> None:
        ways = {
            "host": self.host,
            "unix_socket": self.unix_socket,
            "sentinels": self.sentinels,
            "nodes": self.nodes,
        }
        given = [name for name, value in ways.items() if value]
        if not given:
            raise OptionError("host", "is required (or unix_socket, sentinels, nodes)")
        if len(given) > 1:
            raise OptionError(given[1], f"cannot be given together with {given[0]}")
        if self.sentinels and not self.master_name:
            raise OptionError("master_name", "is required with sentinels")
        if self.nodes and self.database:
            raise OptionError("database", f"must be 0 in a Cluster, got {self.database}")
        if self.unix_socket and self.ssl:
            raise OptionError("ssl", "cannot be used over a unix socket")
        one_way(self)

    @property
    def pool(self) -> PoolConfig:
        """The pool's options, from wherever they were given."""
        flat = {name: getattr(self, name) for name in ("max_total", "max_idle", "min_idle")}
        given = {name: value for name, value in flat.items() if value is not None}
        return evolve(self.pool_config, **given)

    @property
    def timeout_seconds(self) -> float:
        """The timeout as sockets want it."""
        return self.timeout / 1000

    def where(self) -> tuple[str, int | None]:
        """Host and port; or the socket, or the Sentinels' or nodes' addresses, and None."""
        if self.host is not None:
            return self.host, self.port
        if self.unix_socket is not None:
            return self.unix_socket, None
        several = self.sentinel_addresses() or self.node_addresses()
        return ",".join(f"{host}:{port}" for host, port in several), None

    def sentinel_addresses(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports of the Sentinels."""
        return addresses(self.sentinels, DEFAULT_SENTINEL_PORT)

    def node_addresses(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports of the Cluster nodes to begin with."""
        return addresses(self.nodes, DEFAULT_PORT)

    @property
    def has_secret(self) -> bool:
        """Whether there is a password, in whatever way it is said."""
        return any(getattr(self, name) is not None for name in WAYS)

    def secret(self) -> str | None:
        """The password as it is now.

        Raises:
            AccessDenied: the file or variable that should hold it is not there, or the command
                failed.
            ConfigError: there is no such command.
        """
        if self.password_file is not None:
            try:
                return Path(self.password_file).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise AccessDenied(
                    f"redis: password_file {self.password_file!r} cannot be read: {error}"
                ) from error
        if self.password_env is not None:
            if self.password_env not in os.environ:
                raise AccessDenied(
                    f"redis: the environment variable {self.password_env} (password_env) is not set"
                )
            return os.environ[self.password_env]
        if self.password_command is not None:
            return printed(self.password_command, "storage.redis.password_command")
        return self.password


@frozen(kw_only=True)
class InfiniticRedisConfig(RedisConfig):
    """Where Infinitic keeps its state: options and defaults of `redis`, but only for reading."""

    prefix: str = option(
        "",
        "what a key must begin with to be read; Infinitic's begin with `workflow` or `task`",
    )
    nodes: Any = option((), "must be empty: Infinitic cannot write to a Cluster", _no_nodes)  # noqa: RUF009  # likewise
    undecodable: str = undecodable_option()
