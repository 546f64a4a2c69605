"""redis-py's errors and the server's refusals as errors of statekeep, with what to check."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ExternalAuthProviderError,
    MovedError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from statekeep.errors import (
    AccessDenied,
    CorruptValue,
    OutcomeUnknown,
    StorageError,
    Unavailable,
    Unsupported,
)

CODE = re.compile(r"([A-Z]{3,})\b")
WRAPPED = re.compile(r"\b(WRONGTYPE|OOM|READONLY|MISCONF|NOREPLICAS|NOPERM|CORRUPT)\b")
"""What Redis 6 and `error()` put into the text of a script's failure."""

MEANING: dict[str, tuple[Callable[[str], StorageError], str]] = {
    "NOAUTH": (AccessDenied, "it wants a password: set username and password"),
    "WRONGPASS": (AccessDenied, "check username and password"),
    "NOPERM": (AccessDenied, "give the ACL user this command and the keys below the prefix"),
    "DENIED": (AccessDenied, "it is in protected mode: set a password there, or bind it"),
    "OOM": (
        Unavailable,
        "its memory is full; nothing was written: raise maxmemory, or delete something",
    ),
    "READONLY": (
        Unavailable,
        "it is a read-only replica; nothing was written: set host to the master, or use sentinels",
    ),
    "LOADING": (Unavailable, "it is still loading its data: try again"),
    "BUSY": (Unavailable, "a script keeps it busy; nothing was applied: try again"),
    "MASTERDOWN": (Unavailable, "it is a replica without its master: check the replication"),
    "MISCONF": (Unavailable, "it cannot save to its disk; nothing was written: check the disk"),
    "NOREPLICAS": (Unavailable, "too few replicas (min-replicas-to-write); nothing was written"),
    "CLUSTERDOWN": (Unavailable, "the Cluster is not complete: wait, or check its nodes"),
    "TRYAGAIN": (Unavailable, "the slot is being moved; nothing was applied: try again"),
    "MOVED": (Unavailable, "it is a node of a Cluster, which was asked for a slot of another one: "
              "list its nodes in storage.redis.nodes"),
    "ASK": (Unavailable, "the slot is being moved; nothing was applied: try again"),
    "CROSSSLOT": (Unsupported, "keys of one transaction need the same {hash tag} in a Cluster"),
    "WRONGTYPE": (CorruptValue, "another program wrote a key of another type below the prefix"),
    "CORRUPT": (CorruptValue, "another program wrote a key below the prefix"),
}  # fmt: skip


@frozen
class Refusal:
    """The server's refusal of one command: it applied nothing of it.

    Attributes:
        code: the first word of the answer, such as `MOVED`.
        error: the error to raise.
        node: host and port, where the server names another one.
    """

    code: str
    error: StorageError
    node: tuple[str, int] | None = None


class Broken(Exception):
    """A connection that failed in the middle of a call.

    Attributes:
        sent: whether all commands had been handed to the network.
        timed_out: whether it was silence, and not the end of the connection.
        nothing_applied: whether no command can have reached the server whole.
    """

    def __init__(self, server: str, error: BaseException, sent: bool, commands: int) -> None:
        super().__init__(str(error))
        self.server = server
        self.sent = sent
        self.timed_out = isinstance(error, TimeoutError)
        self.nothing_applied = not sent and commands == 1
        self.cause = error

    def as_error(self, *, write: bool) -> StorageError:
        """What to tell the caller."""
        how = "did not answer in time" if self.timed_out else f"broke the connection ({self.cause})"
        if write and not self.nothing_applied:
            error: StorageError = OutcomeUnknown(
                f"redis: {self.server} {how} after a write was sent: it may or may not have been "
                "applied; read the versions again. Check the server and the network"
            )
        else:
            error = Unavailable(
                f"redis: {self.server} {how}; nothing was written: check the server, the network "
                "and storage.redis.timeout"
            )
        error.__cause__ = self.cause
        return error


def refusal(server: str, error: RedisError) -> Refusal | None:
    """An error answer of the server, or None where the error is none."""
    if "max number of clients" in str(error):
        why = Unavailable(
            f"redis: {server} takes no more connections: raise its maxclients, or lower "
            "pool_config.max_total"
        )
        why.__cause__ = error
        return Refusal("MAXCLIENTS", why)
    answers = (ResponseError, AuthenticationError, BusyLoadingError, ExternalAuthProviderError)
    if not isinstance(error, answers):
        return None
    code = getattr(error, "status_code", None) or _code(str(error))
    if code == "ERR":
        inner = WRAPPED.search(str(error))
        code = inner.group(1) if inner else code
    node = (error.host, error.port) if isinstance(error, AskError) else None
    made = _meant(server, code, str(error))
    made.__cause__ = error
    return Refusal("MOVED" if isinstance(error, MovedError) else code, made, node)


def _code(text: str) -> str:
    match = CODE.match(text)
    return match.group(1) if match else "ERR"


def _meant(server: str, code: str, text: str) -> StorageError:
    if code in MEANING:
        kind, advice = MEANING[code]
        return kind(f"redis: {server} refused with {code} ({text}): {advice}")
    lower = text.lower()
    if "without any password" in lower or "password is set" in lower or "invalid pass" in lower:
        return AccessDenied(
            f"redis: {server} refused the password ({text}): check username and password"
        )
    if "unknown command" in lower or "syntax error" in lower:
        return Unsupported(f"redis: {server} is too old ({text}): statekeep needs Redis 6.2")
    if "db index" in lower:
        return AccessDenied(f"redis: {server} has no such database ({text}): check database")
    return StorageError(f"redis: {server} refused: {text}")


def _hung_up(text: str) -> bool:
    """Over TLS, what a server may do to a client whose certificate it misses, without a word."""
    ways = ("violation of protocol", "closed by server", "reset by peer", "Broken pipe")
    return any(way in text for way in ways)


def cannot_connect(server: str, error: BaseException, tls: bool) -> StorageError:
    """Why there is no connection, and what to check."""
    refused = refusal(server, error) if isinstance(error, RedisError) else None
    if refused is not None:
        return refused.error
    text = str(error)
    if isinstance(error, TimeoutError):
        advice = "check host and port, that the server is not stopped, and the firewall"
        advice += "; and that this port speaks TLS, as ssl is on" if tls else ""
    elif "CERTIFICATE" in text or "certificate" in text or (tls and _hung_up(text)):
        advice = "check ssl_ca_file, ssl_cert_file, ssl_key_file and the name in the certificate"
    elif "SSL" in text or "TLS" in text:
        advice = "check that this port speaks TLS, else leave ssl off"
    elif "Protocol error" in text or "closed by server" in text or "reset by peer" in text:
        advice = "check that Redis listens there, and whether that port wants TLS (ssl = true)"
    elif "Name or service" in text or "name resolution" in text or "nodename" in text:
        advice = "check host: the name is not known"
    else:
        advice = "check host and port, and that the server runs"
    return Unavailable(f"redis: cannot connect to {server}: {text}: {advice}")
