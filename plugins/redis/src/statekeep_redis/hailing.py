"""How a Redis server or Sentinel is recognized: by any answer to PING, a refusal included."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from functools import partial

from statekeep.errors import ConfigError
from statekeep.servers import Hailed, Server, WrongProtocol

from statekeep_redis.config import RedisConfig

PING = b"*1\r\n$4\r\nPING\r\n"
ANSWERS = (b"+", b"-")


def servers(config: RedisConfig) -> Sequence[Server]:
    """Those that the config names; of a Cluster and of Sentinels there may be more."""
    if config.unix_socket is not None:
        return [_server(config, "", 0, "server", config.unix_socket)]
    for role, addresses in (
        ("Sentinel", config.sentinel_addresses()),
        ("node", config.node_addresses()),
    ):
        if addresses:
            return [_server(config, host, port, role) for host, port in addresses]
    return [_server(config, config.host or "", config.port, "server")]


def _server(
    config: RedisConfig, host: str, port: int, role: str, path: str | None = None
) -> Server:
    return Server(
        host=host,
        port=port,
        socket_path=path,
        role=role,
        hail=partial(hail, host),
        tls=partial(tls_context, config),
        verified_by="ssl = true under [storage.redis], and tls-port at the server",
    )


def hail(host: str, plain: socket.socket, tls: ssl.SSLContext | None) -> Hailed:
    """See `statekeep.servers.Hail`. There is no upgrade: a port speaks TLS or it does not."""
    found = plain if tls is None else tls.wrap_socket(plain, server_hostname=host)
    found.sendall(PING)
    answer = found.recv(64)
    if not answer.startswith(ANSWERS):
        said = f"answered {answer[:16]!r}" if answer else "closed the connection"
        raise WrongProtocol(f"{said}, as no Redis server does, or one that wants TLS (ssl = true)")
    return Hailed(found)


def tls_context(config: RedisConfig) -> ssl.SSLContext | None:
    """What a connection verifies, as redis-py does with the same options.

    Raises:
        ConfigError: a certificate or key cannot be read.
    """
    if not config.ssl:
        return None
    context = ssl.create_default_context()
    context.check_hostname = config.ssl_check_hostname
    try:
        if config.ssl_ca_file is not None:
            context.load_verify_locations(config.ssl_ca_file)
        if config.ssl_cert_file is not None:
            context.load_cert_chain(
                config.ssl_cert_file, config.ssl_key_file, config.ssl_key_password
            )
    except OSError as error:
        raise ConfigError(
            f"storage.redis: a certificate or key cannot be read ({error}): check ssl_ca_file, "
            "ssl_cert_file and ssl_key_file"
        ) from error
    return context
