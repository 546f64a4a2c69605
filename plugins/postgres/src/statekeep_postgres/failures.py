"""What PostgreSQL's error codes mean to the caller. Told by SQLSTATE, never by a message's text.

Codes: https://www.postgresql.org/docs/15/errcodes-appendix.html
"""

from __future__ import annotations

from collections.abc import Mapping

from statekeep.errors import (
    AccessDenied,
    ConfigError,
    CorruptValue,
    InvalidArgument,
    OutcomeUnknown,
    StorageError,
    Unavailable,
)
from statekeep.sql.calls import Contended

FATAL = frozenset({"FATAL", "PANIC"})
WARNING = "WARNING"

REPEATABLE = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same transaction may well succeed at once."""

NO_DATABASE = "3D000"
NO_SUCH_ACCESS = "28000"
"""Nobody may come in this way: refused by pg_hba.conf, before any password was asked for."""

DUPLICATE_DATABASE = frozenset({"42P04", "23505", "55006"})
"""Another process creates the database in the same moment."""

USELESS = frozenset({"25006", "26000", "42P05", "0A000"})
"""After these the connection is not used again: it leads to a standby, or its prepared
statements are not those that we believe it to have."""


class ServerRefused(Exception):
    """The server's own answer: the cause of the error that the caller gets.

    Attributes:
        code: its SQLSTATE.
        severity: ERROR, FATAL or PANIC.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.code = fields.get("C", "")
        self.severity = fields.get("V", fields.get("S", ""))
        self.fields = dict(fields)
        detail = f" ({fields['D']})" if "D" in fields else ""
        super().__init__(f"{fields.get('M', 'no message')}{detail} [SQLSTATE {self.code}]")


def translate(error: ServerRefused, where: str, user: str) -> StorageError:
    """The error to raise instead, with the server's as its cause; nothing was applied."""
    found = _BY_CODE.get(error.code) or _BY_CLASS.get(error.code[:2])
    if found is None:
        return StorageError(f"{where}: unexpected failure, nothing was applied: {error}")
    kind, advice = found
    return kind(f"{where} as {user!r}: {error}; nothing was applied. {advice}")


def lost(where: str, reason: object, *, unknown: bool) -> StorageError:
    """The error for a connection that broke before its answer came."""
    if unknown:
        return OutcomeUnknown(
            f"{where}: the connection broke ({reason}) after a write was sent: it may or may not "
            "have been applied; read the versions again before deciding"
        )
    return Unavailable(f"{where}: the connection broke ({reason}); nothing was applied")


def half_committed(where: str, warning: ServerRefused) -> StorageError:
    """The error for a commit about which the server warned: its standby may not have it."""
    return OutcomeUnknown(
        f"{where}: {warning}: the write was committed there, and is lost if that server is; read "
        "the versions again before deciding"
    )


_SETUP = "A table, column or function is missing or was changed: `setup()` creates what is missing"
_POOLER = (
    "Prepared statements got lost or changed: behind PgBouncer in transaction mode set "
    "prepared_statements = false"
)
_NO_SESSION = (
    "Settings of the connection were refused: behind PgBouncer in transaction mode set "
    "prepared_statements = false"
)
_BUSY = "Look at the server's load and limits; a retry is safe"

_BY_CODE: dict[str, tuple[type[StorageError], str]] = {
    "08P01": (Unavailable, _NO_SESSION),
    "0A000": (Unavailable, _POOLER),
    "26000": (Unavailable, _POOLER),
    "42P05": (Unavailable, _POOLER),
    "25006": (Unavailable, "It is read-only, a standby perhaps: list all hosts, or promote it"),
    "40001": (Contended, "Another transaction came between, again and again"),
    "40P01": (Contended, "A deadlock with a transaction that is not statekeep's, perhaps"),
    "42501": (AccessDenied, "Grant the user what the message names"),
    "3D000": (ConfigError, "Create the database, or correct `database`"),
    "3F000": (ConfigError, _SETUP),
    "42P01": (ConfigError, _SETUP),
    "42703": (ConfigError, _SETUP),
    "42883": (ConfigError, _SETUP),
    "42939": (ConfigError, "A schema's name must not begin with pg_"),
    "53100": (Unavailable, "The server's disk is full: free some space, a retry is safe"),
    "53300": (Unavailable, "Raise max_connections, or lower maximum_pool_size"),
    "55P03": (Unavailable, "A lock could not be had in time"),
    "57014": (Unavailable, "It took longer than statement_timeout, or somebody cancelled it"),
    "57P03": (Unavailable, "The server is starting or stopping; a retry is safe"),
    "XX001": (CorruptValue, "The server found damaged data: look at its log"),
    "XX002": (CorruptValue, "The server found a damaged index: look at its log, REINDEX"),
}
_BY_CLASS: dict[str, tuple[type[StorageError], str]] = {
    "08": (Unavailable, "Look at the server, or at the pooler before it"),
    "22": (InvalidArgument, "The server cannot store this"),
    "28": (AccessDenied, "Check username and password, and the server's pg_hba.conf"),
    "53": (Unavailable, _BUSY),
    "54": (InvalidArgument, "It is too large for the server"),
    "55": (Unavailable, _BUSY),
    "57": (Unavailable, _BUSY),
    "58": (Unavailable, "The server had an error of its system: look at its log"),
}
