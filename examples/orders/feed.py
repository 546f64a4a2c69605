"""Brings the input into the store, a few hundred orders at a time, and can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice

from attrs import define, field
from statekeep import Storage

from examples.orders.keys import Keys
from examples.orders.model import State, Status, Stock
from examples.orders.source import InputError, Order

MOST_AT_ONCE = 200
"""Orders in one transaction."""
NOW = timedelta(0)


@define
class Feed:
    """Submits orders as long as not too many are in the works.

    Attributes:
        limit: how many may be in the works at once, so that timers are served when they are due.
        submitted: how many are in the store.
    """

    storage: Storage
    keys: Keys
    orders: Sequence[Order]
    limit: int
    submitted: int = 0
    _waiting: list[Order] = field(factory=list)

    def prepare(self) -> None:
        """Writes the stock, or finds out how far an earlier run of this name has come.

        Raises:
            InputError: the earlier run had another input.
        """
        digest = hashlib.sha256(repr(self.orders).encode()).hexdigest().encode()
        entry = self.storage.values.get(self.keys.input)
        if entry is None:
            with self.storage.transaction() as tx:
                tx.put(self.keys.input, digest, expected=0)
                for sku, quantity in _ordered(self.orders).items():
                    tx.put(self.keys.stock(sku), Stock(quantity).encode(), expected=0)
        elif entry.value != digest:
            raise InputError(
                f"run {self.keys.run!r} was begun with another input: give it that input again, "
                "or choose another name with --run"
            )
        tags = self.storage.sets.members_many(self.keys.status(each) for each in Status)
        known = frozenset[bytes]().union(*tags.values())
        self._waiting = [order for order in self.orders if order.id.encode() not in known]
        self._waiting.reverse()  # so that the next one is the last: cheap to take
        self.submitted = len(self.orders) - len(self._waiting)

    def top_up(self, finished: int) -> None:
        """Submits as many orders as there is room for."""
        room = self.limit - (self.submitted - finished)
        while self._waiting and room > 0:
            batch = self._waiting[: -min(room, MOST_AT_ONCE) - 1 : -1]
            self._submit(batch)
            del self._waiting[-len(batch) :]
            self.submitted += len(batch)
            room -= len(batch)

    def _submit(self, orders: Sequence[Order]) -> None:
        """States, tags and first timers: all orders of the batch are there, or none is."""
        ids = [order.id.encode() for order in orders]
        with self.storage.transaction() as tx:
            for order in orders:
                tx.put(self.keys.order(order.id), State(order).encode(), expected=0)
                tx.add(self.keys.region(order.region), order.id.encode())
                tx.add(self.keys.unshipped(order.region), order.id.encode())
                tx.schedule(self.keys.timers, order.id, due=NOW)
            tx.add(self.keys.status(Status.NEW), *ids)


def remove_run(storage: Storage, keys: Keys) -> None:
    """Deletes every record of a run."""
    for message in storage.deferred.scan(keys.timers):
        storage.deferred.cancel(*message.name)
    for key in storage.sets.scan(keys.prefix):
        for page in storage.sets.pages(key):
            storage.sets.remove(key, *page.items)
    names = (key for key, _ in storage.values.scan(keys.prefix))
    while batch := list(islice(names, MOST_AT_ONCE)):
        with storage.transaction() as tx:
            for key in dict.fromkeys(batch):
                tx.delete(key)


def _ordered(orders: Iterable[Order]) -> dict[str, int]:
    """How much of each article is ordered: the stock that we begin with."""
    total: dict[str, int] = {}
    for order in orders:
        total[order.sku] = total.get(order.sku, 0) + order.quantity
    return total
