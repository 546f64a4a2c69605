"""Every use of pg8000 and of its socket, and the errors of both translated.

pg8000 makes the connection: start-up, authentication, what the server says of itself. Statements
then go over the same socket in one round trip each, in the messages of `wire.py`.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pg8000.core
import pg8000.exceptions
from statekeep.errors import AccessDenied, ConfigError, StorageError, Unavailable
from statekeep.pending import CallAgain
from statekeep.sockets import Silence, hand_over, room_for
from statekeep.sql import secrets
from statekeep.sql.calls import concerns_all
from statekeep.sql.hosts import Hosts
from statekeep.sql.stream import Streaming, fill

from statekeep_postgres import wire
from statekeep_postgres.address import Address, addresses
from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.failures import (
    FATAL,
    NO_SUCH_ACCESS,
    USELESS,
    WARNING,
    ServerRefused,
    half_committed,
    lost,
    translate,
)
from statekeep_postgres.reading import Reading, Rows

GRACE = 5.0
"""Seconds that the answer may take beyond the server's own limit for a statement."""

PING_AFTER = 0.5
"""Seconds of idleness after which a connection is asked, and not only looked at (HikariCP's)."""

PING_TIMEOUT = 2.0
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"

KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that vanished without a word is noticed after a minute, also in the middle of a wait."""

PING = wire.Statement("SELECT 1", (), ("int4",))
READ_ONLY = wire.Statement("SELECT current_setting('transaction_read_only') = 'on'", (), ("bool",))


class Connection:
    """One connection. Not thread-safe: the pool lends it to one caller at a time.

    Attributes:
        broken: nothing may be sent any more. Also while an answer is outstanding, so that whatever
            interrupts a call leaves the connection marked.
        socket: what it speaks through.
        unread: what came behind the last answer.
        where: the server, for messages.
    """

    def __init__(
        self, core: pg8000.core.CoreConnection, where: str, config: PostgresConfig
    ) -> None:
        self.broken = False
        self.where = where
        self.statuses: dict[str, str] = core.parameter_statuses
        self._core = core
        self.socket: socket.socket = core._usock
        self._user = config.username
        self._named = config.prepared_statements
        self._names: dict[wire.Statement, bytes] = {}
        self._prepared = 0
        self.unread = b""
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        # Behind a pooler neither start-up parameters nor SET reach the server that does the work.
        # The condition is never true: a row of this would be taken for one of the statement's.
        limit = wire.Statement(
            "SELECT 1 WHERE "
            f"set_config('statement_timeout', '{config.statement_timeout}', true) = ''"
        )
        self._prelude = b"" if self._named else limit.parse(b"") + limit.bind(b"", ())

    def run(self, statement: wire.Statement, *parameters: Any, writes: bool = False) -> Rows:
        """The rows of a statement, which is a transaction of its own, in one round trip.

        Args:
            statement: what to run; prepared by the way when it is new to the connection.
            parameters: its parameters.
            writes: whether a lost answer leaves open what happened.

        Raises:
            Unavailable: nothing was applied.
            OutcomeUnknown: a write was sent, and its answer was lost. And what `translate` makes
                of an answer that is an error.
        """
        name, request = self._request(statement, parameters)
        rows = self._exchange(request, statement, writes)
        if name is not None:
            self._names[statement] = name
        return rows

    def _request(
        self, statement: wire.Statement, parameters: Sequence[Any]
    ) -> tuple[bytes | None, bytes]:
        """The name that the statement has once it is answered, if any, and what to send."""
        name = self._names.get(statement)
        if name is not None:
            return name, statement.bind(name, parameters) + wire.SYNC
        if self._named:
            self._prepared += 1  # never one name twice, even if this answer is never read
            name = b"s%d" % self._prepared
            return name, statement.parse(name) + statement.bind(name, parameters) + wire.SYNC
        bound = statement.parse(b"") + statement.bind(b"", parameters)
        return None, self._prelude + bound + wire.SYNC

    def begin(self, statement: wire.Statement, *parameters: Any, writes: bool = False) -> Answer:
        """Sends a statement, and does not wait for its rows.

        Raises:
            CallAgain: it could not be sent whole, so nothing is applied.
        """
        name, request = self._request(statement, parameters)
        if not room_for(self.socket, len(request)):
            raise CallAgain("too much for the network")
        answer = Answer(self, Reading(statement, writes), (statement, name))
        self.broken = True
        try:
            hand_over(self.socket, request)
        except OSError as error:
            raise CallAgain(str(error)) from error
        return answer

    def ended(self, answer: Answer) -> None:
        """The answer to `begin` was read to its end, or to an error."""
        self.socket.settimeout(answer.patience)
        statement, name = answer.prepares
        if name is not None and answer.rows is not None:
            self._names[statement] = name

    def script(self, sql: str, *, writes: bool = False) -> None:
        """Runs statements without parameters or results; several are one transaction."""
        self._exchange(wire.query(sql), PING, writes)

    def ready(self, idle: float) -> bool:
        """Whether the connection can be used, told without asking the server.

        Args:
            idle: for how many seconds it was not.
        """
        return idle < PING_AFTER and self._open()

    def _open(self) -> bool:  # the server says nothing unasked but its goodbye
        return not self.broken and not self._poll.poll(0)

    def alive(self, idle: float) -> bool:
        """The same; after some idleness the server is asked."""
        if not self._open():
            return False
        if idle < PING_AFTER:
            return True
        before = self.socket.gettimeout()
        try:
            self.socket.settimeout(PING_TIMEOUT)
            self.run(PING)
            self.socket.settimeout(before)
        except (StorageError, OSError):
            return False
        return True

    def timeout(self, seconds: float | None) -> None:
        """How long an answer may take from now on."""
        self.socket.settimeout(seconds)

    def close(self) -> None:
        """Says goodbye where that is possible, without waiting."""
        try:
            if not self.broken:
                self.socket.settimeout(0)
                self.socket.send(b"X\x00\x00\x00\x04")
        except (OSError, ValueError):
            pass
        finally:
            self.socket.close()

    def abandon(self) -> None:
        """In a forked child: closes the child's copy, and says nothing to the server."""
        self.broken = True
        # Not unwrapped: over TLS too, close() sends nothing.
        self.socket.close()

    def _exchange(self, request: bytes, statement: wire.Statement, writes: bool) -> Rows:
        if self.broken:
            raise lost(self.where, "it was broken before", unknown=False)
        self.broken = True
        try:
            self.socket.sendall(request)
        except OSError as error:  # the last bytes, Sync, never left: nothing can be committed
            raise lost(self.where, error, unknown=False) from error
        try:
            return self._receive(statement, writes)
        except (OSError, EOFError) as error:
            raise lost(self.where, error, unknown=writes) from error
        except ServerRefused as error:
            raise self.refused(error, writes) from error

    def refused(self, error: ServerRefused, writes: bool) -> StorageError:
        """What to raise for the server's refusal."""
        if error.severity == WARNING:
            return half_committed(self.where, error)
        if error.code in USELESS:
            self.broken = True
        if error.severity in FATAL and error.fields.get("completed") and writes:
            return lost(self.where, error, unknown=True)
        return translate(error, self.where, self._user)

    def _receive(self, statement: wire.Statement, writes: bool) -> Rows:
        reading = Reading(statement, writes)
        needed, rest = 5, self.unread
        while needed:
            needed, rest = reading.take(fill(self.socket, rest, needed))
        return self.read(reading, rest)

    def read(self, reading: Reading, rest: bytes) -> Rows:
        """The rows of an answer that was read to its end; raises where it is a refusal."""
        self.unread = rest
        self.broken = False
        return reading.result()


class Answer(Streaming):
    """The rows of a statement, from what the network brings bit by bit.

    Attributes:
        rows: None as long as some are missing.
        prepares: the statement, and the name it has once it is answered.
    """

    def __init__(
        self,
        connection: Connection,
        reading: Reading,
        prepares: tuple[wire.Statement, bytes | None],
    ) -> None:
        super().__init__(connection.socket, reading, 5, connection.unread)
        self.rows: Rows | None = None
        self.prepares = prepares
        self._connection = connection
        self._reading = reading

    def received(self) -> Rows | None:
        """See `Pending.receive`."""
        connection, writes = self._connection, self._reading.writes
        try:
            if not self.hear():
                return None
            self.rows = connection.read(self._reading, self.rest)
        except Silence:
            raise lost(connection.where, TimeoutError("timed out"), unknown=writes) from None
        except (OSError, EOFError) as error:
            if not writes:
                raise CallAgain(str(error)) from error
            raise lost(connection.where, error, unknown=True) from error
        except ServerRefused as error:
            connection.ended(self)
            refused = connection.refused(error, writes)
            if writes and not concerns_all(refused):
                raise CallAgain(str(refused)) from error
            raise refused from error
        connection.ended(self)
        return self.rows


class Dialer:
    """Opens connections to the first server of a list that will do.

    Args:
        config: whom to call.
        database: the database, where it is not that of the config.
    """

    def __init__(self, config: PostgresConfig, database: str | None = None) -> None:
        self._config = config
        self._database = database or config.database
        self._hosts = Hosts(addresses(config.host, config.port))
        self._tls = tls_context(config)
        limit = config.statement_timeout
        self.read_timeout = limit / 1000 + GRACE if limit else None

    @property
    def name(self) -> str:
        """The servers and the database, for messages."""
        return f"PostgreSQL {self._hosts}/{self._database}"

    def connect(self, timeout: float) -> Connection:
        """A connection to the first of the servers that answers and may be written to.

        Raises:
            AccessDenied: the credentials were refused.
            ConfigError: there is no such database, or a file cannot be read.
            Unavailable: no server will do; every one is named with its reason.
        """
        return self._hosts.connect(self._dial, timeout, self._config.connect_timeout / 1000)

    def _dial(self, address: Address, timeout: float) -> Connection:
        try:
            return self._greet(address, timeout, self._tls)
        except AccessDenied as error:
            # As libpq does with `prefer`; but a password that was refused is not sent in the clear.
            said = error.__cause__
            refused = isinstance(said, ServerRefused) and said.code == NO_SUCH_ACCESS
            if self._config.sslmode != "prefer" or address.socket_path or not refused:
                raise
            with suppress(StorageError):
                return self._greet(address, timeout, None)
            raise

    def _greet(self, address: Address, timeout: float, tls: ssl.SSLContext | None) -> Connection:
        config, where = self._config, f"PostgreSQL {address}/{self._database}"
        password = secrets.password(
            config.password, config.password_file, config.password_command, "storage.postgres"
        )
        raw = self._socket(address, timeout, where, tls)
        try:
            core = pg8000.core.CoreConnection(
                config.username,
                database=self._database,
                password=password,
                ssl_context=False,  # the socket speaks TLS already
                application_name=config.application_name,
                startup_params=self._startup(),
                sock=raw,
            )
        except Exception as error:
            raw.close()
            found, cause = _refused(error, where, config.username)
            raise found from cause
        connection = Connection(core, where, config)
        try:
            if config.target_session_attrs == "read-write" and _read_only(connection):
                raise Unavailable(f"{where}: is read-only, a standby perhaps; nothing was applied")
            raw.settimeout(self.read_timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    def _startup(self) -> dict[str, str]:
        if not self._config.prepared_statements:
            return {}  # PgBouncer refuses parameters that it does not know
        return {
            "statement_timeout": str(self._config.statement_timeout),
            "default_transaction_isolation": "read committed",
            "client_min_messages": "warning",  # see `reading`
            "enable_seqscan": "off",  # a plan made while a table was small must do when it is large
            "jit": "off",  # what a sequential scan is then said to cost would be worth compiling
        }

    def _socket(
        self, address: Address, timeout: float, where: str, tls: ssl.SSLContext | None
    ) -> socket.socket:
        found: socket.socket | None = None
        try:
            if address.socket_path is not None:
                found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                found.settimeout(timeout)
                found.connect(address.socket_path)
                return found
            found = socket.create_connection((address.host, address.port), timeout)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE:
                if hasattr(socket, name):
                    found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            return found if tls is None else self._encrypted(found, address, where, tls)
        except (OSError, ValueError) as error:
            if found is not None:
                found.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise AccessDenied(
                    f"{where}: its certificate was refused: {error.verify_message}; check "
                    f"sslrootcert and the host name, sslmode is {self._config.sslmode}"
                ) from error
            raise Unavailable(
                f"{where}: cannot connect: {error}; nothing was applied. Check host, port, "
                "firewall, and that the server runs"
            ) from error

    def _encrypted(
        self, plain: socket.socket, address: Address, where: str, tls: ssl.SSLContext
    ) -> socket.socket:
        plain.sendall(SSL_REQUEST)
        answer = plain.recv(1)
        if answer == b"S":
            return tls.wrap_socket(plain, server_hostname=address.host)
        if answer == b"N" and self._config.sslmode == "prefer":
            return plain
        if not answer:
            raise ConnectionResetError("the connection was closed")
        plain.close()
        raise Unavailable(
            f"{where}: the server offers no TLS, and sslmode is {self._config.sslmode}; nothing "
            "was sent. Turn `ssl` on at the server, or choose sslmode = prefer"
        )


def tls_context(config: PostgresConfig) -> ssl.SSLContext | None:
    """What TLS has to verify: the meanings of `sslmode` are those of libpq."""
    mode = config.sslmode
    if mode == "disable":
        return None
    verify = mode in ("verify-ca", "verify-full") or (mode == "require" and config.sslrootcert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    try:
        if config.sslrootcert is not None:
            context.load_verify_locations(config.sslrootcert)
        elif verify:
            context.load_default_certs()
        if config.sslcert is not None:
            context.load_cert_chain(config.sslcert, config.sslkey)
    except OSError as error:
        raise ConfigError(
            f"storage.postgres: a certificate or key cannot be read ({error}): check sslrootcert, "
            "sslcert and sslkey"
        ) from error
    return context


def _read_only(connection: Connection) -> bool:
    if "in_hot_standby" in connection.statuses:  # since PostgreSQL 14, not through a pooler
        both = ("in_hot_standby", "default_transaction_read_only")
        return any(connection.statuses.get(name) == "on" for name in both)
    return bool(connection.run(READ_ONLY)[0][0])


def _refused(error: BaseException, where: str, user: str) -> tuple[StorageError, BaseException]:
    """The error for a start-up that failed, and its cause."""
    for each in _chain(error):
        if isinstance(each, pg8000.exceptions.DatabaseError) and isinstance(each.args[0], dict):
            said = ServerRefused(each.args[0])
            said.__cause__ = each
            return translate(said, where, user), said
    return Unavailable(
        f"{where}: did not answer as a PostgreSQL server ({type(error).__name__}: {error}); "
        "nothing was applied"
    ), error


def _chain(error: BaseException | None) -> Sequence[BaseException]:
    """pg8000 says goodbye after a refusal, and raises again where that fails."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__context__
    return found
