"""What error codes mean to the caller. Told by number, never by a message's text.

https://mariadb.com/kb/en/mariadb-error-code-reference/ and
https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html: the same numbers mean
the same, but for those that only one of the two has.
"""

from __future__ import annotations

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

NO_DATABASE = 1049
GUARD = 1242
"""A subquery gave more than one row: how a statement says that a condition does not hold."""

USELESS = frozenset({1047, 1053, 1152, 1158, 1159, 1160, 1161, 1290, 1836, 1927, 3100, 4031})
"""After these the connection is not used again: it is closed, or leads to a node that does not
take writes."""

DEADLOCK = 1213
"""The server has rolled back the transaction by itself."""

ROLLED_BACK = frozenset({1020, 1205, 1213, 1290, 1836, 3100, 3101})
"""What a COMMIT says that certainly did nothing. Any other error of it leaves open what happened:
1180 may come after the log was written."""

UNSURE = frozenset({1053, 1180, 1927})
"""What a statement that commits by itself may say after it did."""


class ServerRefused(Exception):
    """The server's own answer: the cause of the error that the caller gets.

    Attributes:
        code: its number.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(f"{message} [{code}]")


def code(error: BaseException) -> int:
    """The number behind an error; 0 where the server said none."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, ServerRefused):
        cause = cause.__cause__
    return 0 if cause is None else cause.code


def translate(error: ServerRefused, where: str, user: str) -> StorageError:
    """The error to raise instead, with the server's as its cause; nothing was applied."""
    found = _BY_CODE.get(error.code)
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


_SETUP = "A table or column is missing or was changed: `setup()` creates what is missing"
_GRANT = "Grant the user what the message names"
_LOGIN = (
    "Check username and password, from which hosts the user may come, and whether the server or "
    "the user requires TLS (ssl_mode)"
)
_READ_ONLY = "It takes no writes, a replica perhaps: list all hosts, or make it writable"
_PACKET = "Raise max_allowed_packet at the server, or compress values"
_FULL = "The server's disk is full: free some space, a retry is safe"
_NETWORK = "Look at the server and the network; a retry is safe"
_TLS = "The server or the user requires TLS: set ssl_mode = required"

_BY_CODE: dict[int, tuple[type[StorageError], str]] = {
    1020: (Contended, "Another transaction came between, again and again"),
    1205: (Contended, "Another transaction held a lock longer than lock_timeout, again and again"),
    1213: (Contended, "Another transaction came between, again and again"),
    3101: (Contended, "Another member of the group committed first, again and again"),
    1021: (Unavailable, _FULL),
    1030: (Unavailable, "The storage engine failed: look at the server's log and disk"),
    1114: (Unavailable, _FULL),
    1040: (Unavailable, "Raise max_connections, or lower maximum_pool_size"),
    1203: (Unavailable, "Raise max_user_connections, or lower maximum_pool_size"),
    1226: (Unavailable, "Raise the user's limit, or lower maximum_pool_size"),
    1047: (Unavailable, "A node that is not in sync with its cluster: list all hosts"),
    1053: (Unavailable, "The server is stopping; a retry is safe"),
    1129: (Unavailable, "The server blocks this host: FLUSH HOSTS"),
    1152: (Unavailable, _NETWORK),
    1158: (Unavailable, _NETWORK),
    1159: (Unavailable, _NETWORK),
    1160: (Unavailable, _NETWORK),
    1161: (Unavailable, _NETWORK),
    1180: (Unavailable, "The cluster has no quorum, perhaps: look at the server's log"),
    1290: (Unavailable, _READ_ONLY),
    1836: (Unavailable, _READ_ONLY),
    1792: (Unavailable, _READ_ONLY),
    3100: (Unavailable, _READ_ONLY),
    1317: (Unavailable, "Somebody cancelled it; a retry is safe"),
    1412: (Unavailable, "The tables were just changed; a retry is safe"),
    1927: (Unavailable, "Somebody closed the connection; a retry is safe"),
    1969: (Unavailable, "It took longer than statement_timeout"),
    3024: (Unavailable, "It took longer than statement_timeout"),
    4031: (Unavailable, "The server closed an idle connection; a retry is safe"),
    1044: (AccessDenied, f"{_GRANT}, or create the database"),
    1045: (AccessDenied, _LOGIN),
    1130: (AccessDenied, _LOGIN),
    1142: (AccessDenied, _GRANT),
    1143: (AccessDenied, _GRANT),
    1227: (AccessDenied, _GRANT),
    1370: (AccessDenied, _GRANT),
    1410: (AccessDenied, _GRANT),
    1524: (AccessDenied, "The server lacks the user's authentication plugin"),
    1698: (AccessDenied, _LOGIN),
    1820: (AccessDenied, "The password has expired: set a new one"),
    1862: (AccessDenied, "The password has expired: set a new one"),
    3118: (AccessDenied, "The account is locked"),
    4151: (AccessDenied, "The account is locked"),
    3159: (AccessDenied, _TLS),
    1049: (ConfigError, "Create the database, or correct `database`"),
    1054: (ConfigError, _SETUP),
    1146: (ConfigError, _SETUP),
    1665: (ConfigError, "Set binlog_format to ROW or MIXED at the server"),
    1153: (InvalidArgument, _PACKET),
    1301: (InvalidArgument, _PACKET),
    1118: (InvalidArgument, "It is too large for the server"),
    1264: (InvalidArgument, "It is out of the column's range"),
    1406: (InvalidArgument, "It is too long for the column"),
    1034: (CorruptValue, "The server found damaged data: look at its log"),
    1035: (CorruptValue, "The server found damaged data: look at its log"),
    1194: (CorruptValue, "The server found a damaged table: look at its log"),
    1712: (CorruptValue, "The server found a damaged index: look at its log"),
    1877: (CorruptValue, "The server found a damaged table: look at its log"),
}
