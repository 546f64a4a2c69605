"""Transactions as calls of scripts: which script carries out what, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial

from attrs import frozen
from statekeep.errors import InvalidArgument, StorageError, Unsupported
from statekeep.model import Failed, Outcome, Put, Transaction
from statekeep.pending import CallAgain, Pending, Steps
from statekeep.updates import updates as find_updates

from statekeep_redis import codec, scripts, updates
from statekeep_redis.cluster import Cluster
from statekeep_redis.driver import Command, Link, Reply
from statekeep_redis.failures import Refusal
from statekeep_redis.names import Names
from statekeep_redis.server import Single

MOST_WORDS = 1_000_000
"""Arguments of one command: the server's limit is 1048576 (networking.c, multibulk length)."""


@frozen
class Part:
    """One call of a script.

    Attributes:
        slot: of its keys.
        command: the call.
        numbers: of the transactions that it carries out.
        read: makes their outcomes of the answer; left out are those of which nothing was applied.
    """

    slot: int
    command: Command
    numbers: Sequence[int]
    read: Callable[[Reply], Mapping[int, Outcome]]


class Writer:
    """Carries out transactions.

    Args:
        names: of the keys.
        place: the server, or the Cluster.
        wait: whether to wait for replicas.
        most_bytes: what a value, and a whole transaction, may have.
    """

    def __init__(
        self, names: Names, place: Single | Cluster, *, wait: bool, most_bytes: int
    ) -> None:
        self._names = names
        self._place = place
        self._wait = wait
        self.most_bytes = most_bytes

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`: one script for each, several in one pipeline.

        Conditional puts over values that are there share calls of a script.
        """
        outcomes: dict[int, Outcome] = {}
        simple = self._simple(transactions)
        if simple:  # what is refused the general way explains, one by one
            _note(simple, self._replies(simple), outcomes)
        if len(outcomes) < len(transactions):
            self._commit_rest(transactions, outcomes)
        return [outcomes[number] for number in range(len(transactions))]

    def start(self, transactions: Sequence[Transaction]) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`; not in a Cluster, nor where replicas are waited for."""
        if self._wait or self._names.spread:
            return None

        def steps(link: Link) -> Steps[list[Outcome | None]]:
            parts = self._simple(transactions)
            taken = {number for part in parts for number in part.numbers}
            outcomes = self._add_general(transactions, parts, taken)
            if not parts:
                raise CallAgain("none of them can be sent")
            refused = yield from _begun(link, parts, outcomes)
            more: list[Part] = []
            outcomes |= self._add_general(transactions, more, refused | outcomes.keys())
            if more:
                try:
                    yield from _begun(link, more, outcomes)
                except CallAgain:
                    pass
                except StorageError as error:
                    outcomes |= {number: Failed(error) for part in more for number in part.numbers}
            return [outcomes.get(number) for number in range(len(transactions))]

        return self._place.start(steps)

    def _replies(self, parts: Sequence[Part]) -> list[Reply]:
        commands = [(part.slot, part.command) for part in parts]
        return self._place.calls(commands, write=True, wait=self._wait)

    def _commit_rest(
        self, transactions: Sequence[Transaction], outcomes: dict[int, Outcome]
    ) -> None:
        """Adds the outcomes that are missing, each by a call of its own."""
        others_applied = bool(outcomes)
        parts: list[Part] = []
        outcomes |= self._add_general(transactions, parts, outcomes)
        try:
            replies = self._replies(parts) if parts else []
        except StorageError as error:
            if not others_applied:
                raise
            outcomes |= {number: Failed(error) for part in parts for number in part.numbers}
            return
        for part, refusal in _note(parts, replies, outcomes):
            outcomes |= {number: Failed(refusal.error) for number in part.numbers}

    def _simple(self, transactions: Sequence[Transaction]) -> list[Part]:
        """Calls for what is so simple that there is a shorter way, or several can share one."""
        if len(transactions) == 1:
            operations = transactions[0].operations
            if len(operations) == 1 and type(operations[0]) is Put:
                return self._put(operations[0])
            return []
        if self._names.spread:
            return []
        found = find_updates(transactions, self.most_bytes)
        return [self._updates(portion) for portion in updates.portions(found)]

    def _updates(self, portion: dict[int, Put]) -> Part:
        slot, command = updates.command(self._names, portion)
        return Part(slot, command, tuple(portion), partial(updates.outcomes, portion))

    def _put(self, put: Put) -> list[Part]:
        """A put over a value that does not expire."""
        if put.ttl is not None or put.expected == 0 or len(put.value) > self.most_bytes:
            return []
        name = self._names.value(put.key)

        def read(reply: Reply) -> Mapping[int, Outcome]:
            outcome = codec.replaced(put, reply)
            return {} if outcome is None else {0: outcome}

        command = ("EVALSHA", scripts.PUT.sha, 1, name, *codec.replacement(put))
        return [Part(self._names.slot(name), command, (0,), read)]

    def _add_general(
        self,
        transactions: Sequence[Transaction],
        parts: list[Part],
        done: Container[int],
    ) -> dict[int, Outcome]:
        """Adds a call for each that is not done; the outcomes of those that cannot be one."""
        failed: dict[int, Outcome] = {}
        for number, transaction in enumerate(transactions):
            if number not in done:
                try:
                    parts.append(self._general(number, transaction))
                except StorageError as error:
                    failed[number] = Failed(error)
        return failed

    def _general(self, number: int, transaction: Transaction) -> Part:
        """Raises where the transaction cannot be one call."""
        arguments = codec.Arguments(self._names)
        for operation in transaction.operations:
            arguments.add(operation)
        keys, slot = arguments.keys, 0
        if self._names.spread and keys:
            slot = self._names.slot(keys[0])
            if any(self._names.slot(name) != slot for name in keys):
                raise _across_slots(transaction)
        if arguments.size > self.most_bytes:
            raise InvalidArgument(
                f"redis: a value of {arguments.size} bytes; at most {self.most_bytes}"
            )
        if len(keys) + len(arguments.values) > MOST_WORDS:
            raise InvalidArgument(
                "redis: a transaction of more than a million words: split it into several"
            )
        command = (
            "EVALSHA",
            scripts.COMMIT.sha,
            len(keys) + 3,
            *self._names.scope(slot),
            *keys,
            arguments.letters,
            self._names.cut,
            *arguments.values,
        )

        def read(reply: Reply) -> Mapping[int, Outcome]:
            return {number: codec.outcome(transaction, reply)}

        return Part(slot, command, (number,), read)


def _begun(link: Link, parts: Sequence[Part], outcomes: dict[int, Outcome]) -> Steps[set[int]]:
    """Sends calls and adds what came of them; the numbers of transactions that were refused."""
    replies = yield link.begin([part.command for part in parts], write=True)
    return {number for part, _ in _note(parts, replies, outcomes) for number in part.numbers}


def _note(
    parts: Sequence[Part], replies: Sequence[Reply], outcomes: dict[int, Outcome]
) -> list[tuple[Part, Reply]]:
    """Adds what came of calls; those that were refused, with the refusal."""
    refused: list[tuple[Part, Reply]] = []
    for part, reply in zip(parts, replies, strict=True):
        if isinstance(reply, Refusal | Exception):
            refused.append((part, reply))
        else:
            outcomes.update(part.read(reply))
    return refused


def _across_slots(transaction: Transaction) -> Unsupported:
    kinds = ", ".join(sorted({type(each).__name__.lower() for each in transaction.operations}))
    return Unsupported(
        f"redis: a transaction ({kinds}) over several hash slots; a Cluster is atomic only within "
        "one. Give its keys, sets and queues the same hash tag, as in 'order/{42}' and "
        "'timers/{42}', or set prefix = \"{app}:\" to keep everything in one slot"
    )
