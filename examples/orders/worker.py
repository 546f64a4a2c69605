"""A worker process: claims due timers and takes each order one step further.

It may die between any two instructions. Whatever it had not committed, its lease gives back.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from datetime import timedelta

import statekeep
from attrs import define
from statekeep import (
    DeferredMessage,
    Entry,
    LeaseLost,
    OutcomeUnknown,
    Storage,
    Unavailable,
    VersionConflict,
)

from examples.orders.keys import Keys
from examples.orders.model import State, Step, Stock, next_step

BATCH = 16
"""Timers claimed at once; also how many orders a killed worker holds up for a lease."""
MOST_CONFLICTS = 100
"""A step that other workers came before so often is a defect, and ends the worker."""
IDLE = 0.02
"""Seconds to wait when no timer is due."""


@define
class Worker:
    """Takes steps, each in one transaction.

    Attributes:
        name: written to the effects of its steps.
        lease: how long it may work on a batch before others get it.
        stall_after: after so many batches it sleeps past its lease, once, as a process does
            that is swapped out or collects garbage; its work must then be refused.
        parent: the process that started it; it ends when that is gone.
    """

    storage: Storage
    keys: Keys
    name: str
    lease: timedelta
    stall_after: int | None = None
    parent: int | None = None
    batches: int = 0
    stopping: bool = False

    def run(self) -> None:
        """Works until it is told to stop, or its supervisor is gone."""
        while not self.stopping and self.parent in (None, os.getppid()):
            try:
                if not self.work():
                    time.sleep(IDLE)
            except (Unavailable, OutcomeUnknown):
                # Whatever was not applied comes back when its lease ends; what was applied took
                # its timer with it. So there is nothing to find out, and nothing to repeat here.
                time.sleep(IDLE)

    def work(self) -> int:
        """Claims a batch, takes the steps that are due, and returns how many were."""
        messages = self.storage.deferred.claim(self.keys.timers, limit=BATCH, lease=self.lease)
        orders = self.storage.values.get_many(self.keys.order(each.id) for each in messages)
        self.batches += bool(messages)
        if self.batches == self.stall_after:
            self.stall_after = None
            self.sleep(2 * self.lease.total_seconds())
        for message in messages:
            try:
                if self.stopping:
                    self.storage.deferred.release(message)
                else:
                    self.take_step(message, orders[self.keys.order(message.id)])
            except LeaseLost:
                self.count_fenced()
        return len(messages)

    def take_step(self, message: DeferredMessage, entry: Entry) -> None:
        """Takes an order's next step; begins again where another changed the same stock.

        Raises:
            LeaseLost: the message was given to another worker, so the step is not ours to take.
        """
        for conflicts in range(MOST_CONFLICTS):
            step = next_step(State.decode(entry.value))
            try:
                return self.commit(message, entry, step, conflicts)
            except VersionConflict as conflict:
                if conflict.lost:
                    raise LeaseLost(conflict.lost) from conflict
                last = conflict
            current = self.storage.values.get(self.keys.order(message.id))
            assert current is not None, "orders are never deleted"
            entry = current
        raise last

    def commit(self, message: DeferredMessage, entry: Entry, step: Step, conflicts: int) -> None:
        """Applies a step: all of this lands together, or nothing does."""
        before, after, order = State.decode(entry.value), step.state, step.state.order
        proof = {"worker": self.name, "delivery": message.attempt, "conflicts": conflicts}
        tags, stock = self.keys, self._changed_stock(step)
        with self.storage.transaction() as tx:
            tx.acknowledge(message)  # only the holder of the lease may commit
            tx.put(tags.order(order.id), after.encode(), expected=entry.version)
            tx.put(tags.effect(order.id, step.name), json.dumps(proof).encode(), expected=0)
            if stock is not None:
                tx.put(tags.stock(order.sku), stock[0].encode(), expected=stock[1])
            tx.remove(tags.status(before.status), order.id.encode())
            tx.add(tags.status(after.status), order.id.encode())
            if step.next_in is not None:
                tx.schedule(tags.timers, order.id, due=step.next_in)
            else:
                tx.remove(tags.unshipped(order.region), order.id.encode())

    def _changed_stock(self, step: Step) -> tuple[Stock, int] | None:
        """The stock after a step, and the version that it may replace."""
        if step.stock is None:
            return None
        entry = self.storage.values.get(self.keys.stock(step.state.order.sku))
        assert entry is not None, "the stock is written before the first order"
        old = Stock.decode(entry.value)
        available, reserved, shipped = step.stock
        new = Stock(old.available + available, old.reserved + reserved, old.shipped + shipped)
        return new, entry.version

    def sleep(self, seconds: float) -> None:
        """Does nothing for a while, unless it is told to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.stopping:
            time.sleep(IDLE)

    def count_fenced(self) -> None:
        """Counts a step that was refused, for the table at the end of the run."""
        self.storage.values.update(self.keys.fenced, lambda old: b"%d" % (int(old or b"0") + 1))

    def stop(self, *_: object) -> None:
        """Lets the worker end after the step that it is taking."""
        self.stopping = True


def main() -> None:
    """Runs a worker until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m examples.orders.worker")
    parser.add_argument("--config", required=True, help="a config file or URL of statekeep")
    parser.add_argument("--run", required=True, help="the name of the run")
    parser.add_argument("--name", required=True, help="the name of the worker")
    parser.add_argument("--lease", type=float, required=True, help="seconds")
    parser.add_argument("--stall-after", type=int, help="batches")
    parser.add_argument("--parent", type=int, help="the process without which it ends")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which stops us
    with statekeep.open(options.config) as storage:
        worker = Worker(
            storage,
            Keys(options.run),
            options.name,
            timedelta(seconds=options.lease),
            options.stall_after,
            options.parent,
        )
        signal.signal(signal.SIGTERM, worker.stop)
        worker.run()


if __name__ == "__main__":
    main()
