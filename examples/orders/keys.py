"""Where each record of a run is kept."""

from __future__ import annotations

from attrs import field, frozen

from examples.orders.model import Status


@frozen
class Keys:
    """The names of a run's records.

    All begin with the run's name, so that runs can share a store. It stands in braces so that
    Redis Cluster keeps a run's records in one hash slot, and transactions over them stay atomic.
    """

    run: str
    prefix: str = field(init=False)

    @prefix.default
    def _prefix(self) -> str:
        return f"{{{self.run}}}/"

    @property
    def timers(self) -> str:
        """The queue: one message per unfinished order, due when its next step is."""
        return f"{self.prefix}timers"

    @property
    def input(self) -> str:
        """The fingerprint of the input, so that a run is not resumed with another one."""
        return f"{self.prefix}input"

    @property
    def fenced(self) -> str:
        """How many steps were refused because their worker had lost its lease."""
        return f"{self.prefix}fenced"

    def order(self, id: str) -> str:
        """The state of an order, with its history."""
        return f"{self.prefix}order/{id}"

    def effect(self, id: str, step: str) -> str:
        """The proof that a step of an order was applied; written once, never changed."""
        return f"{self.prefix}effect/{id}/{step}"

    def stock(self, sku: str) -> str:
        """The stock of an article."""
        return f"{self.prefix}stock/{sku}"

    def status(self, status: Status) -> str:
        """The tag that holds the ids of all orders in a status."""
        return f"{self.prefix}status/{status.value}"

    def region(self, region: str) -> str:
        """The tag that holds the ids of all orders of a region."""
        return f"{self.prefix}region/{region}"

    def unshipped(self, region: str) -> str:
        """The tag that holds the ids of the orders of a region that are still in the works."""
        return f"{self.prefix}open/{region}"
