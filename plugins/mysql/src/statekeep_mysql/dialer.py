"""Opens connections: whom to call, with what secrets, and what is settled at the start."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any

import pymysql
from pymysql.constants import CLIENT, CR
from statekeep.errors import AccessDenied, ConfigError, StorageError, Unavailable
from statekeep.sql import secrets
from statekeep.sql.addresses import split_hosts
from statekeep.sql.hosts import Hosts

from statekeep_mysql import dialect
from statekeep_mysql.config import MysqlConfig
from statekeep_mysql.driver import Connection
from statekeep_mysql.failures import ServerRefused, translate
from statekeep_mysql.names import quote
from statekeep_mysql.reading import Result

GRACE = 5.0
"""Seconds that the answer may take beyond the server's own limit for a statement."""

LONGEST_WAIT = 31_536_000
"""The most seconds that `wait_timeout` takes."""

FLAGS = CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS
"""Transactions in one packet; row counts of what was found, changed or not."""

CLIENT_CODES = range(CR.CR_ERROR_FIRST, CR.CR_ERROR_LAST + 1)
"""The numbers that PyMySQL itself gives; the server's begin at 1000, and go on behind these."""

STATE = (
    "SELECT @@max_allowed_packet, @@GLOBAL.read_only",
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready','wsrep_cluster_status')",
    "SHOW VARIABLES LIKE 'wsrep_on'",
)


class Address:
    """One server; a host that begins with a slash is the path of its unix socket."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.socket_path = host if host.startswith("/") else None

    def __str__(self) -> str:
        return self.socket_path or f"{self.host}:{self.port}"


class Dialer:
    """Opens connections to the first server of a list that will do.

    Args:
        config: whom to call.
        database: the database to use; None for none.
    """

    def __init__(self, config: MysqlConfig, database: str | None) -> None:
        self._config = config
        self._database = database
        self._hosts = Hosts(Address(*each) for each in split_hosts(config.host, config.port))
        self._tls = tls_context(config)
        limit = max(config.statement_timeout, config.lock_timeout)
        self._read_timeout = limit / 1000 + GRACE if config.statement_timeout else None

    @property
    def name(self) -> str:
        """The servers and the database, for messages."""
        return f"MySQL {self._hosts}/{self._config.database}"

    def connect(self, timeout: float) -> Connection:
        """A connection to the first of the servers that answers and may be written to.

        Raises:
            AccessDenied: the credentials were refused.
            ConfigError: there is no such database, or a file cannot be read.
            Unavailable: no server will do; every one is named with its reason.
        """
        return self._hosts.connect(self._dial, timeout, self._config.connect_timeout / 1000)

    def _dial(self, address: Address, timeout: float) -> Connection:
        config, where = self._config, f"MySQL {address}/{self._config.database}"
        password = secrets.password(
            config.password, config.password_file, config.password_command, "storage.mysql"
        )
        core = pymysql.connections.Connection(
            host=address.host,
            port=address.port,
            user=config.username,
            password=password.encode(),
            charset="utf8mb4",
            client_flag=FLAGS,
            autocommit=None,
            connect_timeout=timeout,
            read_timeout=timeout,  # also of the handshake, which connect_timeout leaves out
            write_timeout=self._read_timeout,
            program_name=config.application_name,
            auth_plugin_map={"mysql_clear_password": _Refuser},
            defer_connect=True,
            **self._tls_options(address),
        )
        try:
            core.connect(None if address.socket_path is None else _unix(core, address, timeout))
        except Exception as error:
            core._force_close()
            found, cause = self._not_connected(error, where)
            raise found from cause
        connection = Connection(core, where, config.username, self._read_timeout)
        try:
            self._settle(connection)
            connection.patient(self._read_timeout is None)
        except BaseException:
            connection.close()
            raise
        return connection

    def _tls_options(self, address: Address) -> Mapping[str, Any]:
        mode = self._config.ssl_mode
        if mode == "disabled" or (mode == "preferred" and address.socket_path):
            return {"ssl_disabled": True}
        return {} if self._tls is None else {"ssl": self._tls}

    def _settle(self, connection: Connection) -> None:
        """Makes explicit what a server's defaults could spoil, and looks at the server."""
        greeting = connection.greeting
        problem = dialect.too_old(greeting)
        if problem:
            raise ConfigError(f"{connection.where}: {greeting}: {problem}")
        config = self._config
        patience = -(-config.lock_timeout // 1000)
        settings = (
            "autocommit=1",
            "sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
            "time_zone='+00:00'",
            # The pool closes a connection, never the server behind its back.
            f"wait_timeout={min(config.max_lifetime // 1000 + 60, LONGEST_WAIT)}",
            f"innodb_lock_wait_timeout={patience}",
            f"lock_wait_timeout={patience}",
            "completion_type=0",
            "sql_safe_updates=0",
            "sql_select_limit=DEFAULT",
            *dialect.settings(greeting, config.statement_timeout),
        )
        results = connection.run(
            (
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
                "SET SESSION " + ",".join(settings),
                *STATE,
            )
        )
        packet, read_only = results[2].rows[0]
        connection.max_packet = int(packet)
        connection.packet_limit = connection.max_packet - 4096
        galera = _variables(results[3]) | _variables(results[4])
        if config.target_server_type == "primary":
            problem = _unwritable(str(read_only), galera)
            if problem:
                raise Unavailable(f"{connection.where}: {problem}; nothing was applied")
        # Only now: a replica that lags may lack the database, and is passed over.
        last = [] if self._database is None else [f"USE {quote(self._database)}"]
        if galera.get("wsrep_on") == "ON":
            connection.one_by_one = True
            # What another node acknowledged is seen: https://mariadb.com/kb/en/wsrep_sync_wait/
            last.append("SET SESSION wsrep_sync_wait=7")
        if last:
            connection.run(last)

    def _not_connected(self, error: Exception, where: str) -> tuple[StorageError, Exception]:
        """The error for a connection that could not be made, and its cause."""
        original = getattr(error, "original_exception", error)
        code = error.args[0] if isinstance(error, pymysql.Error) and error.args else None
        if isinstance(original, ssl.SSLCertVerificationError):
            return AccessDenied(
                f"{where}: its certificate was refused: {original.verify_message}; check ssl_ca "
                f"and the host name, ssl_mode is {self._config.ssl_mode}"
            ), error
        if code == CR.CR_SSL_CONNECTION_ERROR:
            return Unavailable(
                f"{where}: the server offers no TLS, and ssl_mode is {self._config.ssl_mode}; "
                "nothing was sent. Give the server a certificate, or choose preferred"
            ), error
        if isinstance(code, int) and code >= 1000 and code not in CLIENT_CODES:
            said = ServerRefused(code, str(error.args[-1]))
            said.__cause__ = error
            return translate(said, where, self._config.username), said
        if isinstance(error, AccessDenied):
            return error, error
        if isinstance(error, RuntimeError):  # PyMySQL wants another package to log in
            return AccessDenied(
                f"{where}: cannot log in: {error}; set ssl_mode = required, with which "
                "caching_sha2_password needs no other package"
            ), error
        return Unavailable(
            f"{where}: cannot connect: {error}; nothing was applied. Check host, port, firewall, "
            "and that the server runs"
        ), error


class _Refuser:
    """Authentication in clear text: only where nobody can listen."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def authenticate(self, packet: Any) -> Any:
        """Sends the password over TLS or a unix socket; a server that asks otherwise gets none."""
        if not self._core._secure:
            raise AccessDenied(
                "the server asked for the password in clear text over a connection that is not "
                "encrypted: it was not sent; set ssl_mode = verify_identity"
            )
        self._core.write_packet(self._core.password + b"\0")
        found = self._core._read_packet()
        found.check_error()
        return found


def _unix(core: Any, address: Address, timeout: float) -> socket.socket:
    """A connected unix socket; PyMySQL would leave one open that it could not connect."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(timeout)
        found.connect(str(address.socket_path))
    except BaseException:
        found.close()
        raise
    core._secure = True  # nobody can listen: passwords may go as they are
    return found


def _variables(result: Result) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in result.rows}


def _unwritable(read_only: str, galera: Mapping[str, str]) -> str | None:
    """Why a server takes no writes, or None."""
    if read_only not in ("0", "OFF"):
        return "is read-only, a replica perhaps"
    if galera.get("wsrep_on") != "ON":
        return None
    if galera.get("wsrep_ready", "ON") != "ON" or galera.get("wsrep_cluster_status") != "Primary":
        return "is not in sync with its cluster"
    return None


def tls_context(config: MysqlConfig) -> ssl.SSLContext | None:
    """What TLS has to verify: the meanings of `ssl_mode` are those of the server's client.

    https://dev.mysql.com/doc/refman/8.0/en/connection-options.html#option_general_ssl-mode
    """
    mode = config.ssl_mode
    if mode in ("disabled", "preferred"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify_identity"
    context.verify_mode = ssl.CERT_NONE if mode == "required" else ssl.CERT_REQUIRED
    try:
        if config.ssl_ca is not None:
            context.load_verify_locations(config.ssl_ca)
        elif mode != "required":
            context.load_default_certs()
        if config.ssl_cert is not None:
            context.load_cert_chain(config.ssl_cert, config.ssl_key)
    except OSError as error:
        raise ConfigError(
            f"storage.mysql: a certificate or key cannot be read ({error}): check ssl_ca, ssl_cert "
            "and ssl_key"
        ) from error
    return context
