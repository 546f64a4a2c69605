"""Every use of PyMySQL, and its errors translated.

Statements leave in as few packets as `max_allowed_packet` takes, so that a transaction is one
round trip (https://dev.mysql.com/doc/c-api/8.0/en/c-api-multiple-queries.html). The server stops at
the first that fails.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import pymysql
from attrs import frozen
from pymysql.constants import CR
from statekeep.errors import StorageError

from statekeep_mysql.failures import (
    ROLLED_BACK,
    UNSURE,
    USELESS,
    ServerRefused,
    lost,
    translate,
)

PING_AFTER = 0.5
"""Seconds of idleness after which a connection is asked, and not only looked at (HikariCP's)."""

PING_TIMEOUT = 2.0

KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that vanished without a word is noticed after a minute, also in the middle of a wait."""

LEAST_CODE = 1000
"""The least number of a server's error; PyMySQL itself says 0 where it has no socket."""

Rows = Sequence[tuple[Any, ...]]


@frozen(slots=True)
class Result:
    """The answer to one statement.

    Attributes:
        rows: of a query.
        count: how many rows a statement found: also those that it left as they were (FOUND_ROWS).
    """

    rows: Rows
    count: int


class Stopped(Exception):
    """A guard stopped the statements; the transaction is open still.

    Attributes:
        results: of the statements before the guard.
    """

    def __init__(self, results: list[Result]) -> None:
        super().__init__("a condition does not hold")
        self.results = results


class Connection:
    """One connection. Not thread-safe: the pool lends it to one caller at a time.

    Attributes:
        broken: nothing may be sent any more. Also while an answer is outstanding or a transaction
            is open, so that whatever interrupts a call leaves the connection marked.
        where: the server, for messages.
        max_packet: the server's `max_allowed_packet`, in bytes.
        packet_limit: where statements are cut into packets: a little less, as names may hold
            characters of several bytes.
        greeting: the server's version, as it says itself.
    """

    def __init__(self, core: Any, where: str, user: str, read_timeout: float | None) -> None:
        self.broken = False
        self.where = where
        self.max_packet = self.packet_limit = 2**20
        self.greeting: str = core.server_version
        self._core = core
        self._user = user
        self._read_timeout = read_timeout
        self._poll = select.poll()
        self._poll.register(core._sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        self._tune(core._sock)

    def run(
        self,
        statements: Sequence[str],
        *,
        writes: bool = False,
        guard: int | None = None,
        resume: bool = False,
    ) -> list[Result]:
        """The results of statements, in one round trip where they fit in a packet.

        Args:
            statements: a single one, or a transaction from BEGIN to COMMIT, or several that
                change nothing.
            writes: whether a lost answer leaves open what happened.
            guard: the error by which a statement says that a condition does not hold.
            resume: go on in a transaction that a guard stopped.

        Raises:
            Stopped: by a guard; call again with `resume`, or let the connection go.
            Unavailable: nothing was applied.
            OutcomeUnknown: a write was sent, and its answer was lost. And what `translate` makes
                of an answer that is an error.
        """
        if self.broken and not resume:
            raise lost(self.where, "it was broken before", unknown=False)
        self.broken = True
        results: list[Result] = []
        last = False
        try:
            for packet, last in self._packets(statements):  # noqa: B007  # used where it fails
                self._exchange(packet, results)
        except pymysql.Error as error:
            code = _code(error)
            if not is_servers(code):
                sent = last and code != CR.CR_SERVER_GONE_ERROR  # else its last bytes never left
                raise lost(self.where, error, unknown=writes and sent) from _cause(error)
            said = ServerRefused(code, str(error.args[-1]))
            said.__cause__ = error
            if code == guard:
                raise Stopped(results) from error
            raise self._refused(said, statements, len(results), writes) from said
        except (OSError, ValueError, AssertionError, IndexError, RuntimeError) as error:
            # PyMySQL met what is not the protocol, or a socket that was closed.
            raise lost(self.where, error, unknown=writes and last) from error
        self.broken = False
        return results

    def _packets(self, statements: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """The statements joined to packets, and whether each is the last."""
        whole = ";".join(statements)
        if len(whole) < self.packet_limit:
            yield whole, True
            return
        piece: list[str] = []
        size = 0
        for statement in statements:
            if piece and size + len(statement) >= self.packet_limit:
                yield ";".join(piece), False
                piece, size = [], 0
            piece.append(statement)
            size += len(statement) + 1
        yield ";".join(piece), True

    def _exchange(self, packet: str, results: list[Result]) -> None:
        core = self._core
        count = core.query(packet)
        while True:
            result = core._result
            results.append(Result(result.rows or (), count))
            if not result.has_next:
                return
            count = core.next_result()

    def _refused(
        self, error: ServerRefused, statements: Sequence[str], done: int, writes: bool
    ) -> StorageError:
        if len(statements) > 1:
            if error.code not in USELESS:
                self._roll_back()
            committing = done == len(statements) - 1
            unknown = writes and committing and error.code not in ROLLED_BACK
        else:
            self.broken = error.code in USELESS
            unknown = writes and error.code in UNSURE
        if unknown:
            return lost(self.where, error, unknown=True)
        return translate(error, self.where, self._user)

    def _roll_back(self) -> None:
        """Some errors undo a transaction, some only their statement."""
        try:
            self._core.query("ROLLBACK")
            self.broken = False
        except (pymysql.Error, OSError):
            pass

    def alive(self, idle: float) -> bool:
        """Whether the connection can be used, after so many seconds in which it was not."""
        if self.broken or self._poll.poll(0):  # the server says nothing unasked but its goodbye
            return False
        if idle < PING_AFTER:
            return True
        try:
            self.timeout(PING_TIMEOUT)
            self.run(("DO 0",))
            self.timeout(self._read_timeout)
        except (StorageError, OSError):
            return False
        return True

    def timeout(self, seconds: float | None) -> None:
        """How long an answer may take from now on."""
        self._core._read_timeout = seconds

    def patient(self, is_patient: bool) -> None:
        """Whether to wait for an answer as long as it takes."""
        self.timeout(None if is_patient else self._read_timeout)

    def close(self) -> None:
        """Says goodbye where that is possible, without waiting."""
        if self.broken:
            self._core._force_close()
            return
        self.broken = True
        self._core._write_timeout = 0.1
        try:
            self._core.close()
        except (pymysql.Error, OSError, ValueError):
            self._core._force_close()

    def abandon(self) -> None:
        """In a forked child: closes the child's copy, and says nothing to the server."""
        self.broken = True
        core = self._core
        sock, core._sock = core._sock, None
        # Not closed: a thread that the child does not have may hold the lock of the reader.
        core._rfile = None
        if sock is not None:
            os.close(sock.detach())

    @staticmethod
    def _tune(sock: socket.socket) -> None:
        if sock.family == socket.AF_UNIX:
            return
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def is_servers(code: int) -> bool:
    """Whether the number of an error is the server's, not one that PyMySQL itself gives."""
    return code >= LEAST_CODE and not CR.CR_ERROR_FIRST <= code <= CR.CR_ERROR_LAST


def _code(error: BaseException) -> int:
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def _cause(error: BaseException) -> BaseException:
    """The socket's error behind PyMySQL's; the end of the stream has none."""
    if isinstance(error.__context__, OSError):
        return error.__context__
    end = EOFError(str(error))
    end.__cause__ = error
    return end
