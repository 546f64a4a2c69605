"""A Hypothesis state machine: any sequence of calls against a model of plain dicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    DeferredMessage,
    Delete,
    Extend,
    Operation,
    Put,
    Release,
    Remove,
    Schedule,
    Transaction,
    message_name,
    value_key,
)
from statekeep.storage import Storage
from statekeep.testing.reference import Reference
from statekeep.testing.support import HOUR, Kit, fresh_prefix, snapshot

EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
NAMES = st.sampled_from(["a", "A", "a ", "b%", "_", "é"])
VALUES = st.sampled_from([b"", b"x", b"\x1f\x8b\x08", b"\0\xff", b"y" * 3000])
MEMBERS = st.lists(st.sampled_from([b"m", b"M", b"\0", b"m\0", b"\xff"]), max_size=3)
DUES = st.integers(0, 10**6).map(lambda n: EPOCH + timedelta(microseconds=n)) | st.just(10 * HOUR)
WRONG = st.sampled_from(["none", "right", "zero", "off"])

OPERATIONS = st.one_of(
    st.tuples(st.just("put"), NAMES, VALUES, WRONG),
    st.tuples(st.just("delete"), NAMES, st.none(), WRONG),
    st.tuples(st.just("check"), NAMES, st.none(), WRONG),
    st.tuples(st.just("add"), NAMES, MEMBERS, st.none()),
    st.tuples(st.just("remove"), NAMES, MEMBERS, st.none()),
    st.tuples(st.just("schedule"), NAMES, DUES, VALUES),
    st.tuples(st.just("cancel"), NAMES, st.none(), st.none()),
    st.tuples(
        st.sampled_from(["acknowledge", "release", "extend"]), st.integers(0, 9), st.none(), WRONG
    ),
)


class Machine(RuleBasedStateMachine):
    """Transactions of one or more operations, claims, and reads."""

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self.storage = storage
        self.prefix = fresh_prefix()
        self.queue = self.prefix + "queue"
        self.model = Reference()
        self.held: list[DeferredMessage] = []

    @rule(plans=st.lists(st.lists(OPERATIONS, min_size=1, max_size=4), min_size=1, max_size=3))
    def commit(self, plans: list[list[tuple[str, Any, Any, Any]]]) -> None:
        """Several transactions in one call; conditions are planned on the state before it."""
        transactions = [Transaction(self._plan(plan)) for plan in plans]
        outcomes = self.storage.backend.commit(transactions)
        assert len(outcomes) == len(transactions)
        for transaction, outcome in zip(transactions, outcomes, strict=True):
            expected = self.model.conflict(transaction)
            if expected is not None:
                assert isinstance(outcome, Conflict), outcome
                assert dict(outcome.current) == dict(expected.current)
                assert set(outcome.lost) == set(expected.lost)
                continue
            assert isinstance(outcome, Committed), outcome
            self.model.apply(transaction, outcome)

    @rule(limit=st.sampled_from([1, 2, 100]))
    def claim(self, limit: int) -> None:
        """What can be claimed comes by due time; what was given back comes behind it."""
        due = {id: m for id, m in self.model.messages.items() if m.rank is not None}
        claimed = self.storage.deferred.claim(self.queue, limit=limit, lease=HOUR)
        ranks = [due[message.id].rank for message in claimed]
        assert len({message.id for message in claimed}) == len(claimed) == min(limit, len(due))
        first = sorted((m.rank for m in due.values() if m.rank), key=lambda rank: rank)
        # Messages given back may tie on a coarse clock, so only their place as a group is sure.
        assert [r if r and r[0] == 0 else 1 for r in ranks] == [
            r if r[0] == 0 else 1 for r in first[: len(claimed)]
        ]
        for message in claimed:
            known = self.model.messages[message.id]
            known.attempt += 1
            assert (message.payload, message.attempt) == (known.payload, known.attempt)
            assert message.token and all(message.token != old.token for old in self.held)
            known.rank, known.token = None, message.token
            self.held.append(message)

    @rule(names=st.lists(NAMES, max_size=4))
    def read(self, names: list[str]) -> None:
        """get_many and members_many answer what the model holds."""
        keys = [self.prefix + name for name in names]
        found = self.storage.values.get_many(keys)
        assert {key: (e.value, e.version) for key, e in found.items()} == {
            key: self.model.values[key] for key in keys if key in self.model.values
        }
        members = self.storage.sets.members_many(keys)
        assert members == {key: self.model.sets.get(key, set()) for key in keys}

    @invariant()
    def everything_is_there(self) -> None:
        """Scans show the model, no more and no less."""
        values, sets, messages = snapshot(self.storage, self.prefix)
        assert {k: (e.value, e.version) for k, e in values.items()} == self.model.values
        assert sets == self.model.sets
        assert {m.id: (m.payload, m.attempt, m.token) for m in messages} == {
            id: (m.payload, m.attempt, m.token) for id, m in self.model.messages.items()
        }

    def _plan(self, plan: list[tuple[str, Any, Any, Any]]) -> list[Operation]:
        """Operations, without those that may not meet in one transaction."""
        operations: list[Operation] = []
        keys: set[str | None] = {None}
        names: set[tuple[str, str] | None] = {None}
        for kind, name, content, more in plan:
            operation = self._operation(kind, name, content, more)
            if operation is None:
                continue
            lease = isinstance(operation, Acknowledge | Release | Extend)
            key, message = value_key(operation), message_name(operation)
            if (key is not None and key in keys) or (lease and message in names):
                continue
            keys.add(key)
            names.add(message)
            operations.append(operation)
        return operations

    def _operation(self, kind: str, name: Any, content: Any, more: Any) -> Operation | None:
        if kind in ("acknowledge", "release", "extend"):
            return self._lease_operation(kind, name)
        if kind == "schedule":
            return Schedule(self.queue, name, content, more)
        if kind == "cancel":
            return Cancel(self.queue, name)
        key = self.prefix + name
        if kind in ("add", "remove"):
            return Add(key, content) if kind == "add" else Remove(key, content)
        current = self.model.values.get(key, (b"", 0))[1]
        expected = {"none": None, "right": current, "zero": 0, "off": current + 1}[more]
        if kind == "put":
            return Put(key, content, expected)
        return Delete(key, expected) if kind == "delete" else Check(key, expected or 0)

    def _lease_operation(self, kind: str, number: int) -> Operation | None:
        if not self.held:
            return None
        message = self.held[-1 - number % len(self.held)]
        if kind == "extend":
            return Extend(*message.name, message.token, lease=HOUR)
        made = Acknowledge if kind == "acknowledge" else Release
        return made(*message.name, message.token)


class StatefulTests(Kit):
    """The whole contract but time and concurrency.

    Attributes:
        stateful_examples: how many sequences are tried.
        stateful_steps: calls in each of them.
    """

    stateful_examples: int = 100
    stateful_steps: int = 25

    def test_stateful_behaves_like_plain_dicts(self, storage: Storage) -> None:
        """Whatever is called in whatever order, the store is what the model says."""
        run_state_machine_as_test(
            lambda: Machine(storage),  # type: ignore[arg-type]  # documented: any factory will do
            settings=settings(
                max_examples=self.stateful_examples,
                stateful_step_count=self.stateful_steps,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
