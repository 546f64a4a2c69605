"""Every call to redis-py, and its errors in the words of statekeep.

redis-py's client and pool are not used, only its connections: they send once and never again by
themselves, and say whether anything was sent at all.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError
from redis.retry import Retry
from statekeep.errors import StorageError, Unavailable
from statekeep.pending import CallAgain
from statekeep.sockets import Listening, Silence, hand_over, room_for

from statekeep_redis.config import RedisConfig
from statekeep_redis.failures import Broken, Refusal, cannot_connect, refusal

Command: TypeAlias = tuple[Any, ...]
Reply: TypeAlias = Any
Address: TypeAlias = tuple[str, int]

NOTHING = object()
"""What the reader says as long as an answer is not all there; None is one."""

PING_SHARE = 0.25
"""How much of the timeout the trial of an idle connection may take."""


class Credentials(CredentialProvider):
    """Reads the password anew for every connection, so that it may be changed meanwhile."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password; the user alone where it needs none."""
        password = self._config.secret() or ""
        username = self._config.username
        return (password,) if username is None else (username, password)


class Link:
    """One connection to one server.

    Args:
        connection: redis-py's, not connected yet.
        config: timeouts and credentials.
        server: what to call it in an error.

    Attributes:
        used: whether it has served a call before.
        broken: whether an answer to `begin` is outstanding, so that nothing else may be sent.
    """

    def __init__(self, connection: Any, config: RedisConfig, server: str) -> None:
        self.server = server
        self.used = self.broken = False
        self._tls = config.ssl
        self._connection = connection
        self._timeout = config.timeout_seconds
        self._idle_check = config.idle_check
        self._last = 0.0
        self._socket: socket.socket
        self._poller = select.poll()  # `Connection.can_read` makes a new one each time: 3 us

    def open(self, expect_master: bool = False) -> None:
        """Connects, authenticates and has the server answer once.

        Raises:
            StorageError: why not, and what to check.
        """
        try:
            self._connection.connect()
            self._greet(expect_master)
        except StorageError:
            self.close()
            raise
        except (RedisError, OSError, ssl.SSLError) as error:
            self.close()
            raise cannot_connect(self.server, error, self._tls) from error
        except BaseException:
            self.close()
            raise
        self._socket = self._connection._get_socket()
        self._poller.register(self._socket, select.POLLIN)
        self._last = time.monotonic()

    def _greet(self, expect_master: bool) -> None:
        (reply,) = self._answers((("ROLE",) if expect_master else ("PING",),), None)
        if isinstance(reply, Refusal):
            if reply.code != "NOPERM":  # may not ask; that it may not is an answer
                raise reply.error
        elif expect_master and reply[0] != b"master":
            raise Unavailable(
                f"redis: {self.server}, which the Sentinels call the master, says that it is "
                f"a {reply[0].decode()}: a failover is under way, try again"
            )

    def usable(self) -> bool:
        """Whether nothing broke it since: asks the socket, and after long idleness the server."""
        try:
            if self._poller.poll(0):
                return False  # closed, or an answer that nobody waits for
            if time.monotonic() - self._last > self._idle_check:
                self._answers((("PING",),), self._timeout * PING_SHARE)
        except (RedisError, OSError):
            return False
        return True

    def ready(self) -> bool:
        """The same without asking the server; after long idleness False."""
        return not self._poller.poll(0) and time.monotonic() - self._last <= self._idle_check

    def begin(self, commands: Sequence[Command], *, write: bool) -> Answer:
        """Sends commands at once, and does not wait for the answers.

        Raises:
            CallAgain: too much to be sent at once, or the connection is broken; nothing applied.
            OutcomeUnknown: it broke when some of several writes may have been sent.
        """
        message, sock = packed(commands), self._socket
        if not room_for(sock, len(message)):
            raise CallAgain("too much for the network")
        self.broken = True
        try:
            hand_over(sock, message)
        except OSError as error:
            broken = Broken(self.server, error, sent=False, commands=len(commands))
            if write and not broken.nothing_applied:
                raise broken.as_error(write=True) from error
            raise CallAgain(str(error)) from error
        return Answer(self, sock, self._timeout, len(commands), write)

    def ended(self) -> None:
        """The answer to `begin` was read to its end."""
        self._socket.settimeout(self._timeout)
        self._last = time.monotonic()
        self.broken = False

    def exchange(self, commands: Sequence[Command], patience: float | None = None) -> list[Reply]:
        """Sends all commands at once, and reads as many answers.

        Args:
            commands: each a tuple of its words.
            patience: seconds to wait for each answer, if not the timeout.

        Returns:
            The answers; a `Refusal` where the server refused a command.

        Raises:
            Broken: the connection is of no use any more.
        """
        connection, sent = self._connection, False
        try:
            connection.send_packed_command([packed(commands)], False)
            sent = True
            answers = self._read(len(commands), patience)
        except (RedisError, OSError) as error:
            raise Broken(self.server, error, sent, len(commands)) from error
        self._last = time.monotonic()
        return answers

    def _answers(self, commands: Sequence[Command], patience: float | None) -> list[Reply]:
        self._connection.send_packed_command([packed(commands)], False)
        return self._read(len(commands), patience)

    def _read(self, count: int, patience: float | None) -> list[Reply]:
        read, answers = self._connection.read_response, []
        options = {} if patience is None else {"timeout": patience}
        for _ in range(count):
            try:
                answers.append(read(**options))
            except RedisError as error:
                refused = refusal(self.server, error)
                if refused is None:
                    raise
                answers.append(refused)
                if not self._connection.is_connected and len(answers) < count:
                    raise  # redis-py hung up on this one; the other answers went with it
        return answers

    def close(self) -> None:
        """Hangs up; in a forked child only the child's copy."""
        self._connection.disconnect()


class Answer(Listening):
    """The answers to commands, from what the network brings bit by bit.

    Args:
        link: the connection, which is marked as broken until the answers are all there.
        socket: its socket, which does not wait until then.
        timeout: seconds, for each part of the answers.
        commands: how many answers there will be.
        write: whether the commands change something.
    """

    def __init__(
        self, link: Link, socket: socket.socket, timeout: float, commands: int, write: bool
    ) -> None:
        super().__init__(socket, timeout)
        self._link = link
        self._commands = commands
        self._write = write
        self._replies: list[Reply] = []
        self._reader = hiredis.Reader(notEnoughData=NOTHING)

    def received(self) -> list[Reply] | None:
        """See `Pending.receive`; a refused command has a `hiredis.ReplyError` for an answer.

        Raises:
            CallAgain: all were refused; or the connection broke, and nothing was to be changed.
        """
        try:
            if not self.hear():
                return None
        except Silence:
            late = redis.TimeoutError("timed out")
            raise self._lost(late) from late
        except (OSError, EOFError, hiredis.HiredisError) as error:
            if not self._write:
                raise CallAgain(str(error)) from error
            raise self._lost(error) from error
        self._link.ended()
        if all(isinstance(reply, hiredis.ReplyError) for reply in self._replies):
            raise CallAgain(str(self._replies[0]))
        return self._replies

    def take(self, data: bytes) -> bool:
        """See `Listening.take`."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not NOTHING:
            self._replies.append(reply)
        return len(self._replies) >= self._commands

    def _lost(self, error: BaseException) -> StorageError:
        broken = Broken(self._link.server, error, sent=True, commands=self._commands)
        return broken.as_error(write=self._write)


def connect(config: RedisConfig, address: Address | str, *, expect_master: bool = False) -> Link:
    """An open connection to a server.

    Args:
        config: everything but the address.
        address: host and port, or the path of a unix socket.
        expect_master: refuse a server that is not a master.
    """
    connection = _connection(config, address, config.database)
    if config.username is not None or config.has_secret:
        connection.credential_provider = Credentials(config)
    link = Link(connection, config, server_name(address))
    link.open(expect_master)
    return link


def ask_sentinel(config: RedisConfig, address: Address) -> Address | None:
    """Where a Sentinel says that the master is, None where it does not know it.

    Raises:
        StorageError: the Sentinel does not answer or refuses the credentials.
    """
    reply = sentinel_reply(
        config, address, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", config.master_name)
    )
    return None if reply is None else (reply[0].decode(), int(reply[1]))


def sentinel_reply(config: RedisConfig, address: Address, command: Command) -> Reply:
    """What a Sentinel answers to one command; raises as `ask_sentinel` does."""
    connection = _connection(config, address, 0)
    connection.username = config.sentinel_username
    connection.password = config.sentinel_password
    if config.sentinel_username is not None and config.sentinel_password is None:
        connection.password = ""
    link = Link(connection, config, f"the Sentinel {server_name(address)}")
    link.open()
    try:
        (reply,) = link.exchange((command,))
    except Broken as broken:
        raise broken.as_error(write=False) from broken
    finally:
        link.close()
    if isinstance(reply, Refusal):
        raise reply.error
    return reply


def packed(commands: Sequence[Command]) -> bytes:
    """Commands as they are sent (RESP arrays)."""
    if len(commands) == 1:
        one: bytes = hiredis.pack_command(commands[0])
        return one
    return b"".join(map(hiredis.pack_command, commands))


def server_name(address: Address | str) -> str:
    """An address as it is written."""
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _connection(config: RedisConfig, address: Address | str, database: int) -> Any:
    options: dict[str, Any] = {
        "db": database,
        "socket_timeout": config.timeout_seconds,
        "socket_connect_timeout": config.timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if isinstance(address, str):
        unix: Any = redis.UnixDomainSocketConnection  # its signature is not typed
        return unix(path=address, **options)
    options |= {"host": address[0], "port": address[1]}
    if not config.ssl:
        plain: Any = redis.Connection
        return plain(**options)
    secured: Any = redis.SSLConnection
    return secured(
        ssl_ca_certs=config.ssl_ca_file,
        ssl_certfile=config.ssl_cert_file,
        ssl_keyfile=config.ssl_key_file,
        ssl_password=config.ssl_key_password,
        ssl_check_hostname=config.ssl_check_hostname,
        **options,
    )
