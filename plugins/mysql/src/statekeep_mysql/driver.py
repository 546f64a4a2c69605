"""Every use of PyMySQL's connections and of their sockets, and the errors of both translated.

PyMySQL makes the connection: TLS, authentication. Statements then go over the same socket, in the
messages of `wire.py`, in as few packets as `max_allowed_packet` takes: so a transaction is one
round trip (https://dev.mysql.com/doc/c-api/8.0/en/c-api-multiple-queries.html). The server stops
at the first statement that fails.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from statekeep.errors import StorageError
from statekeep.sql.stream import fill

from statekeep_mysql import wire
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
        one_by_one: send each statement in a packet of its own. A Galera node that gives up a
            transaction for another node's between two statements of one packet says nothing of
            it, and runs those that follow as if there had been no BEGIN: seen on MariaDB 10.11,
            two updates lost of 180. To a statement in its own packet it answers 1213.
    """

    def __init__(self, core: Any, where: str, user: str, read_timeout: float | None) -> None:
        self.broken = self.one_by_one = False
        self.where = where
        self.max_packet = self.packet_limit = 2**20
        self.greeting: str = core.server_version
        self._user = user
        self._read_timeout = read_timeout
        self._buffer = b""
        # The socket is ours from here on; nothing is left in PyMySQL's reader after an answer.
        self._socket: socket.socket = core._sock
        core._rfile.close()
        core._rfile = core._sock = None
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        self._tune(self._socket)

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
        last = sent = False
        try:
            for packet, last in self._packets(statements):  # noqa: B007  # used where it fails
                sent = False
                self._socket.sendall(wire.query(packet))
                sent = True
                self._receive(results)
        except ServerRefused as error:
            if error.code == guard:
                raise Stopped(results) from error
            raise self._refused(error, statements, len(results), writes, resume) from error
        except (OSError, EOFError, IndexError, KeyError, ValueError) as error:
            # Where its last bytes never left, nothing can have been committed.
            raise lost(self.where, error, unknown=writes and last and sent) from error
        self.broken = False
        return results

    def _packets(self, statements: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """The statements joined to packets, and whether each is the last."""
        if self.one_by_one:
            for number, statement in enumerate(statements, 1):
                yield statement, number == len(statements)
            return
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

    def _receive(self, results: list[Result]) -> None:
        """Reads the answers to all statements of a packet."""
        more = True
        while more:
            data = self._message()
            kind = data[0]
            if kind == wire.OK:
                count, more = wire.ok(data)
                results.append(Result((), count))
            elif kind == wire.ERROR:
                raise ServerRefused(*wire.error(data))
            elif kind == wire.LOCAL_FILE:
                raise ValueError("the server asked for a file of this machine")
            else:
                columns, _ = wire.length(data, 0)
                decoders = [wire.decoder(self._message()) for _ in range(columns)]
                self._message()  # the end of the columns
                rows, more = self._rows(decoders)
                results.append(Result(rows, len(rows)))

    def _rows(self, decoders: Sequence[wire.Decoder | None]) -> tuple[Rows, bool]:
        """The rows of a query, and whether more answers follow."""
        rows: list[tuple[Any, ...]] = []
        data, position = self._buffer, 0
        row, from_bytes = wire.row, int.from_bytes
        while True:
            if len(data) - position < 5:
                data, position = fill(self._socket, data[position:], 5), 0
            size = from_bytes(data[position : position + 3], "little")
            start = position + 4
            position = start + size
            if position > len(data) or size == wire.MOST:
                self._buffer = data[start - 4 :]
                message = self._message()
                data, position = self._buffer, 0
                start, size = 0, len(message)
            else:
                message = data
            kind = message[start]
            if kind == wire.EOF and size < 9:
                self._buffer = data[position:]
                return rows, wire.more_results(message[start : start + size])
            if kind == wire.ERROR:
                self._buffer = data[position:]
                raise ServerRefused(*wire.error(message[start : start + size]))
            rows.append(row(message, start, decoders))

    def _message(self) -> bytes:
        """The next message, which may be in several packets."""
        parts: list[bytes] = []
        while True:
            data = self._buffer
            if len(data) < 4:
                data = fill(self._socket, data, 4)
            size = int.from_bytes(data[:3], "little")
            if len(data) < size + 4:
                data = fill(self._socket, data, size + 4)
            self._buffer = data[size + 4 :]
            part = data[4 : size + 4]
            if size < wire.MOST:
                return b"".join((*parts, part)) if parts else part
            parts.append(part)

    def _refused(
        self,
        error: ServerRefused,
        statements: Sequence[str],
        done: int,
        writes: bool,
        resumed: bool,
    ) -> StorageError:
        if resumed or len(statements) > 1:
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
            self._socket.sendall(wire.query("ROLLBACK"))
            self._receive([])
            self.broken = False
        except (OSError, EOFError, ServerRefused):
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
        self._socket.settimeout(seconds)

    def patient(self, is_patient: bool) -> None:
        """Whether to wait for an answer as long as it takes."""
        self.timeout(None if is_patient else self._read_timeout)

    def close(self) -> None:
        """Says goodbye where that is possible, without waiting."""
        try:
            if not self.broken:
                self._socket.settimeout(0)
                self._socket.send(wire.QUIT)
        except (OSError, ValueError):
            pass
        finally:
            self.broken = True
            self._socket.close()

    def abandon(self) -> None:
        """In a forked child: closes the child's copy, and says nothing to the server."""
        self.broken = True
        # Not unwrapped: over TLS too, close() sends nothing.
        self._socket.close()

    @staticmethod
    def _tune(sock: socket.socket) -> None:
        if sock.family == socket.AF_UNIX:
            return
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
