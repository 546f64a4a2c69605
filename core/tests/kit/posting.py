"""Backends that start calls: a sound one, and some with one planted defect each."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from planted import Planted, caught_by
from statekeep.clock import now_micros
from statekeep.model import Committed, Entry, Outcome, Put, Transaction
from statekeep.pending import Pending


class Posted(Pending[Any]):
    """An answer that lies ready, behind a socket that says so."""

    def __init__(self, backend: Posting, answer: Any) -> None:
        self._backend = backend
        self._socket, self._other = socket.socketpair()
        self._other.send(b".")
        self._answer = answer
        backend.letters.append(answer)

    @property
    def deadline(self) -> float:
        return time.monotonic() + self._backend.seconds

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Any:
        self._close()
        return self._backend.letter(self._answer)

    def abandon(self) -> None:
        if self._socket.fileno() >= 0:
            self._close()
            self._backend.unwanted(self._answer)

    def _close(self) -> None:
        self._socket.close()
        self._other.close()


class Posting(Planted):
    """A memory backend that starts calls; what is planted below is in how it answers."""

    seconds = 60.0

    def __init__(self, clock: Callable[[], int] = now_micros) -> None:
        super().__init__(clock)
        self.letters: list[Any] = []
        self.closed = False

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        return None if self.closed else Posted(self, self.get_many(keys))

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        return None if self.closed else Posted(self, self.committed(transactions))

    def committed(self, transactions: Sequence[Transaction]) -> list[Outcome | None]:
        """The answer to a started commit."""
        return list(self.commit(transactions))

    def letter(self, answer: Any) -> Any:
        """What is received, where this was the answer."""
        self.letters.remove(answer)
        return answer

    def unwanted(self, answer: Any) -> None:
        """What becomes of an answer that nobody wants any more."""
        self.letters.remove(answer)

    def close(self) -> None:
        self.closed = True
        super().close()


@caught_by("test_starting_a_read_answers_as_reading")
class StartedReadsLeaveEmptyOut(Posting):
    """A started read takes an empty value for none."""

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        found = self.get_many(keys)
        return Posted(self, {key: entry for key, entry in found.items() if entry.value})


@caught_by("test_starting_several_reads_mixes_up_none")
class StartedReadsTakeTurns(Posting):
    """The first answer is given to whoever receives first."""

    def letter(self, answer: Any) -> Any:
        return self.letters.pop(0)


@caught_by("test_starting_a_read_and_abandoning_it")
class AbandonedReadsAnswerLater(Posting):
    """The answer to an abandoned read stays in the connection, for the next one."""

    def letter(self, answer: Any) -> Any:
        return self.letters.pop(0)

    def unwanted(self, answer: Any) -> None:
        pass


@caught_by("test_starting_tells_how_long_it_may_take")
class StartedReadsAreLate(Posting):
    """The deadline was over when it was set."""

    seconds = -1.0


@caught_by("test_starting_a_commit_answers_as_committing")
class StartedCommitsAreRepeated(Posting):
    """What was applied is said not to have been."""

    def committed(self, transactions: Sequence[Transaction]) -> list[Outcome | None]:
        return [None for _ in self.commit(transactions)]


@caught_by("test_starting_a_commit_answers_as_committing")
class StartedCommitsForgetTheirLast(Posting):
    """Only the first operation of a transaction is applied."""

    def committed(self, transactions: Sequence[Transaction]) -> list[Outcome | None]:
        return list(self.commit([Transaction(each.operations[:1]) for each in transactions]))


@caught_by("test_starting_a_commit_of_a_stale_version_conflicts")
class StartedCommitsGoAstray(Posting):
    """The outcomes of a batch come in another order."""

    def committed(self, transactions: Sequence[Transaction]) -> list[Outcome | None]:
        return list(self.commit(transactions))[::-1]


@caught_by("test_starting_a_commit_and_abandoning_it")
class AbandonedCommitsAreHalfDone(Posting):
    """What is abandoned is undone, as far as it was the first operation."""

    def unwanted(self, answer: Any) -> None:
        super().unwanted(answer)
        for outcome in answer:
            if isinstance(outcome, Committed) and outcome.versions:
                self.commit([Transaction((Put(min(outcome.versions), b"undone"),))])


@caught_by("test_starting_after_closing")
class ClosedBackendsStart(Posting):
    """A closed backend sends what it cannot receive."""

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        return Posted(self, {})
