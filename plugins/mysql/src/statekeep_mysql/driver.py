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

from statekeep.errors import StorageError
from statekeep.pending import CallAgain
from statekeep.sockets import Silence, hand_over, room_for
from statekeep.sql.calls import concerns_all
from statekeep.sql.stream import Streaming, fill

from statekeep_mysql import wire
from statekeep_mysql.failures import (
    DEADLOCK,
    ROLLED_BACK,
    UNSURE,
    USELESS,
    ServerRefused,
    lost,
    translate,
)
from statekeep_mysql.reading import HEAD, Reading, Result

PING_AFTER = 0.5
"""Seconds of idleness after which a connection is asked, and not only looked at (HikariCP's)."""

PING_TIMEOUT = 2.0

GARBLED = (IndexError, KeyError, ValueError)
"""What comes of bytes that are no answer."""

KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A peer that vanished without a word is noticed after a minute, also in the middle of a wait."""


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
        socket: what it speaks through.
        unread: what came behind the last answer.
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
        self.unread = b""
        # The socket is ours from here on; nothing is left in PyMySQL's reader after an answer.
        self.socket: socket.socket = core._sock
        core._rfile.close()
        core._rfile = core._sock = None
        self._poll = select.poll()
        self._poll.register(self.socket, select.POLLIN | select.POLLHUP | select.POLLERR)
        self._tune(self.socket)

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
                self.socket.sendall(wire.query(packet))
                sent = True
                self._receive(results)
        except ServerRefused as error:
            if error.code == guard:
                raise Stopped(results) from error
            raise self._refused(error, statements, len(results), writes, resume) from error
        except (OSError, EOFError, *GARBLED) as error:
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
        reading = Reading(results)
        needed, rest = HEAD, self.unread
        while needed:
            needed, rest = reading.take(fill(self.socket, rest, needed))
        self.unread = rest
        if reading.refusal is not None:
            raise reading.refusal

    def begin(
        self,
        statements: Sequence[str],
        *,
        writes: bool = False,
        guard: int | None = None,
        resume: bool = False,
    ) -> Answer:
        """Sends what `run` would, and does not wait for the results.

        Raises:
            CallAgain: it could not be sent whole, so nothing is applied.
        """
        packets = list(self._packets(statements))
        request = wire.query(packets[0][0]) if len(packets) == 1 else b""
        if not request or not room_for(self.socket, len(request)):
            raise CallAgain("too much for the network")
        answer = Answer(self, len(statements), writes, guard, resume)
        self.broken = True
        try:
            hand_over(self.socket, request)
        except OSError as error:
            raise CallAgain(str(error)) from error
        return answer

    def _refused(
        self,
        error: ServerRefused,
        statements: Sequence[str],
        done: int,
        writes: bool,
        resumed: bool,
    ) -> StorageError:
        many = resumed or len(statements) > 1
        if not many:
            self.broken = error.code in USELESS
        elif error.code not in USELESS:
            self._roll_back()
        return self.verdict(error, writes, many, done == len(statements) - 1)

    def verdict(
        self, error: ServerRefused, writes: bool, many: bool, committing: bool
    ) -> StorageError:
        """What to raise for a refusal.

        Args:
            error: the refusal.
            writes: whether something would have been written.
            many: whether it was in a transaction.
            committing: whether it was the transaction's last statement.
        """
        unknown = error.code in UNSURE
        if many:
            unknown = committing and error.code not in ROLLED_BACK
        if unknown and writes:
            return lost(self.where, error, unknown=True)
        return translate(error, self.where, self._user)

    def ended(self, answer: Answer) -> None:
        """The answer to `begin` was read to its end."""
        self.unread = answer.rest
        self.socket.settimeout(answer.patience)

    def _roll_back(self) -> None:
        """Some errors undo a transaction, some only their statement."""
        try:
            self.socket.sendall(wire.query("ROLLBACK"))
            self._receive([])
            self.broken = False
        except (OSError, EOFError, ServerRefused, *GARBLED):
            pass

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
        try:
            self.timeout(PING_TIMEOUT)
            self.run(("DO 0",))
            self.timeout(self._read_timeout)
        except (StorageError, OSError):
            return False
        return True

    def timeout(self, seconds: float | None) -> None:
        """How long an answer may take from now on."""
        self.socket.settimeout(seconds)

    def patient(self, is_patient: bool) -> None:
        """Whether to wait for an answer as long as it takes."""
        self.timeout(None if is_patient else self._read_timeout)

    def close(self) -> None:
        """Says goodbye where that is possible, without waiting."""
        try:
            if not self.broken:
                self.socket.settimeout(0)
                self.socket.send(wire.QUIT)
        except (OSError, ValueError):
            pass
        finally:
            self.broken = True
            self.socket.close()

    def abandon(self) -> None:
        """In a forked child: closes the child's copy, and says nothing to the server."""
        self.broken = True
        # Not unwrapped: over TLS too, close() sends nothing.
        self.socket.close()

    @staticmethod
    def _tune(sock: socket.socket) -> None:
        if sock.family == socket.AF_UNIX:
            return
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Answer(Streaming):
    """The results of a packet of statements, from what the network brings bit by bit.

    Args:
        connection: that they come over.
        count: how many statements there are.
        writes: whether a lost answer leaves open what happened.
        guard: the error by which a statement says that a condition does not hold.
        resumes: whether they are in a transaction that was open before.
    """

    def __init__(
        self, connection: Connection, count: int, writes: bool, guard: int | None, resumes: bool
    ) -> None:
        self._reading = Reading([])
        super().__init__(connection.socket, self._reading, HEAD, connection.unread)
        self._connection = connection
        self._many = resumes or count > 1
        self._count = count
        self._writes = writes
        self._guard = guard

    def received(self) -> list[Result] | Stopped | None:
        """See `Pending.receive`; `Stopped` by a guard, and the transaction is open then."""
        connection, writes = self._connection, self._writes
        try:
            if not self.hear():
                return None
        except Silence:
            raise lost(connection.where, TimeoutError("timed out"), unknown=writes) from None
        except (OSError, EOFError, *GARBLED) as error:
            if not writes:
                raise CallAgain(str(error)) from error
            raise lost(connection.where, error, unknown=True) from error
        connection.ended(self)
        refusal = self._reading.refusal
        if refusal is None:
            connection.broken = False
            return self._reading.results
        if refusal.code == self._guard:
            return Stopped(self._reading.results)
        raise self._refused(refusal) from refusal

    def _refused(self, error: ServerRefused) -> StorageError | CallAgain:
        """What to raise; a transaction that is open yet ends with its connection."""
        connection, many = self._connection, self._many
        connection.broken = error.code != DEADLOCK if many else error.code in USELESS
        committing = len(self._reading.results) == self._count - 1
        refused = connection.verdict(error, self._writes, many, committing)
        if self._writes and not concerns_all(refused):
            return CallAgain(str(refused))
        return refused
