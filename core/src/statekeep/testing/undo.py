"""Transactions that fail: nothing of them remains, whatever they held and wherever they failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from attrs import frozen

from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Conflict,
    DeferredMessage,
    Delete,
    Entry,
    Extend,
    KeyValueRecord,
    Operation,
    Put,
    Release,
    Remove,
    Restore,
    Schedule,
)
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit, commit, snapshot


@frozen
class World:
    """Records for an operation to work on."""

    prefix: str
    version: int
    held: DeferredMessage
    stale: DeferredMessage

    @property
    def queue(self) -> str:
        """The queue with a waiting and a held message."""
        return self.prefix + "queue"


EFFECTS: dict[str, Callable[[World], Operation]] = {
    "put_new": lambda w: Put(w.prefix + "new", b"new"),
    "put_over": lambda w: Put(w.prefix + "there", b"new"),
    "put_with_ttl": lambda w: Put(w.prefix + "there", b"new", ttl=timedelta(hours=1)),
    "put_conditional": lambda w: Put(w.prefix + "there", b"new", w.version),
    "delete": lambda w: Delete(w.prefix + "there"),
    "add_to_new": lambda w: Add(w.prefix + "fresh", (b"x",)),
    "add_to_existing": lambda w: Add(w.prefix + "tag", (b"x", b"y")),
    "remove_one": lambda w: Remove(w.prefix + "tag", (b"a",)),
    "remove_all": lambda w: Remove(w.prefix + "tag", (b"a", b"b")),
    "schedule_new": lambda w: Schedule(w.queue, "new", PAST, b"new"),
    "schedule_move": lambda w: Schedule(w.queue, "waiting", PAST, b"moved"),
    "schedule_take_back": lambda w: Schedule(w.queue, "held", HOUR, b"moved"),
    "cancel": lambda w: Cancel(w.queue, "waiting"),
    "cancel_held": lambda w: Cancel(w.queue, "held"),
    "acknowledge": lambda w: Acknowledge(*w.held.name, w.held.token),
    "release": lambda w: Release(*w.held.name, w.held.token),
    "extend": lambda w: Extend(*w.held.name, w.held.token, lease=timedelta(days=2)),
    "restore_value": lambda w: Restore(KeyValueRecord(w.prefix + "there", Entry(b"old", 7))),
    "restore_message": lambda w: Restore(DeferredMessage(w.queue, "back", w.held.due, b"x")),
}

FAILURES: dict[str, Callable[[World], Operation]] = {
    "version": lambda w: Check(w.prefix + "guard", 12345),
    "creation": lambda w: Put(w.prefix + "guard", b"again", 0),
    "lease": lambda w: Acknowledge(*w.stale.name, w.stale.token),
}


class UndoTests(Kit):
    """Sections 3.4, 3.5 and 3.8 of the contract."""

    @pytest.fixture
    def world(self, storage: Storage, prefix: str) -> World:
        """Two values, a set, a waiting message, a held one, and one whose lease was lost."""
        queue = prefix + "queue"
        version = storage.values.put(prefix + "there", b"old")
        storage.values.put(prefix + "guard", b"guard")
        storage.sets.add(prefix + "tag", b"a", b"b")
        for id in ("held", "stale"):
            storage.deferred.schedule(queue, id, due=PAST, payload=b"old")
        both = {m.id: m for m in storage.deferred.claim(queue, limit=2, lease=HOUR)}
        storage.deferred.schedule(queue, "stale", due=HOUR)
        storage.deferred.schedule(queue, "waiting", due=HOUR, payload=b"old")
        return World(prefix, version, both["held"], both["stale"])

    @pytest.mark.parametrize("effect", EFFECTS)
    @pytest.mark.parametrize("failure", FAILURES)
    @pytest.mark.parametrize("place", ["before", "after"])
    def test_undo_leaves_nothing(
        self, storage: Storage, world: World, effect: str, failure: str, place: str
    ) -> None:
        """An operation beside a condition that fails, before it or after it, changes nothing."""
        change, fail = EFFECTS[effect](world), FAILURES[failure](world)
        if effect == "put_with_ttl" and not storage.capabilities.expiry:
            pytest.skip("expiry is not declared")
        before = snapshot(storage, world.prefix)
        pair = (change, fail) if place == "before" else (fail, change)
        outcome = commit(storage.backend, *pair)
        assert isinstance(outcome, Conflict)
        assert bool(outcome.current) is (failure != "lease")
        assert bool(outcome.lost) is (failure == "lease")
        assert snapshot(storage, world.prefix) == before
        assert storage.deferred.claim(world.queue, limit=10) == []

    @pytest.mark.parametrize("failure", FAILURES)
    def test_undo_of_a_mixed_transaction(
        self, storage: Storage, world: World, failure: str
    ) -> None:
        """A workflow step that lost its race leaves its state, tags, timer and message as is."""
        before = snapshot(storage, world.prefix)
        outcome = commit(
            storage.backend,
            Put(world.prefix + "there", b"new", world.version),
            Add(world.prefix + "tag", (b"c",)),
            Remove(world.prefix + "tag", (b"a",)),
            Schedule(world.queue, "timeout", PAST),
            Acknowledge(*world.held.name, world.held.token),
            FAILURES[failure](world),
            Delete(world.prefix + "other"),
            Cancel(world.queue, "waiting"),
        )
        assert isinstance(outcome, Conflict)
        assert snapshot(storage, world.prefix) == before
        storage.deferred.acknowledge(world.held)

    @pytest.mark.parametrize("effect", EFFECTS)
    def test_undo_is_not_needed_when_all_holds(
        self, storage: Storage, world: World, effect: str
    ) -> None:
        """The same operations beside a condition that holds do change something."""
        if effect == "put_with_ttl" and not storage.capabilities.expiry:
            pytest.skip("expiry is not declared")
        before = snapshot(storage, world.prefix)
        guard = before[0][world.prefix + "guard"].version
        outcome = commit(
            storage.backend, EFFECTS[effect](world), Check(world.prefix + "guard", guard)
        )
        assert not isinstance(outcome, Conflict)
        assert snapshot(storage, world.prefix) != before
