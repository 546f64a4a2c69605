"""The rules of the workflow, as pure functions: nothing here knows that there is a store.

new --reserve--> reserved --pay--> paid --ship--> done
|  ^
declined, retried after a while (retrying)
|
refused, after the last try --release--> cancelled
"""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from enum import Enum

import attrs
from attrs import frozen

from examples.orders.source import Order

PAYMENT_TRIES = 3
DECLINED_OF_256 = 77
"""How many of 256 payments the bank declines: 30 percent."""
STEP_DELAY = timedelta(milliseconds=20)
"""What stands for the time that a warehouse takes."""
FIRST_BACKOFF = timedelta(milliseconds=200)
"""The wait before the second payment; each later one waits twice as long."""


class Status(Enum):
    """Where an order is; also its tag."""

    NEW = "new"
    RESERVED = "reserved"
    RETRYING = "retrying"
    PAID = "paid"
    DONE = "done"
    REFUSED = "refused"
    CANCELLED = "cancelled"


FINAL = (Status.DONE, Status.CANCELLED)


@frozen
class Stock:
    """The stock of one article; the three numbers always add up to the same."""

    available: int
    reserved: int = 0
    shipped: int = 0

    def encode(self) -> bytes:
        """As it is stored."""
        return json.dumps(attrs.asdict(self)).encode()

    @classmethod
    def decode(cls, value: bytes) -> Stock:
        """From what is stored."""
        return cls(**json.loads(value))


@frozen
class State:
    """The state of one order, with its history: each step that was taken and the status it gave."""

    order: Order
    status: Status = Status.NEW
    tries: int = 0
    paid_cents: int = 0
    history: tuple[tuple[str, str], ...] = ()

    def encode(self) -> bytes:
        """As it is stored."""
        return json.dumps(attrs.asdict(self, value_serializer=_plain)).encode()

    @classmethod
    def decode(cls, value: bytes) -> State:
        """From what is stored."""
        data = json.loads(value)
        return cls(
            order=Order(**data["order"]),
            status=Status(data["status"]),
            tries=data["tries"],
            paid_cents=data["paid_cents"],
            history=tuple((step, status) for step, status in data["history"]),
        )


def _plain(_: object, __: object, value: object) -> object:
    return value.value if isinstance(value, Enum) else value


@frozen
class Step:
    """What one step does to an order; the worker makes it one transaction.

    Attributes:
        name: names the step's effect; an order takes no step of one name twice.
        state: the order after it.
        stock: what it adds to `(available, reserved, shipped)`, or None where it leaves it alone.
        next_in: when the next step is due, or None after the last one.
    """

    name: str
    state: State
    stock: tuple[int, int, int] | None = None
    next_in: timedelta | None = None


def declines(order_id: str, payment: int) -> bool:
    """Whether the bank declines this payment: at random, but always the same ones."""
    return hashlib.sha256(f"{order_id}#{payment}".encode()).digest()[0] < DECLINED_OF_256


def next_step(state: State) -> Step:
    """The step that an order in this state takes next."""
    quantity = state.order.quantity
    match state.status:
        case Status.NEW:
            stock = (-quantity, quantity, 0)
            return _step(state, "reserve", Status.RESERVED, stock=stock, next_in=STEP_DELAY)
        case Status.RESERVED | Status.RETRYING:
            return _payment(attrs.evolve(state, tries=state.tries + 1))
        case Status.PAID:
            return _step(state, "ship", Status.DONE, stock=(0, -quantity, quantity))
        case Status.REFUSED:
            return _step(state, "release", Status.CANCELLED, stock=(quantity, -quantity, 0))
        case _:
            raise ValueError(f"order {state.order.id} is {state.status.value}: no step is left")


def _payment(state: State) -> Step:
    name = f"pay-{state.tries}"
    if not declines(state.order.id, state.tries):
        paid = attrs.evolve(state, paid_cents=state.order.quantity * state.order.price_cents)
        return _step(paid, name, Status.PAID, next_in=STEP_DELAY)
    if state.tries < PAYMENT_TRIES:
        backoff = FIRST_BACKOFF * 2 ** (state.tries - 1)
        return _step(state, name, Status.RETRYING, next_in=backoff)
    return _step(state, name, Status.REFUSED, next_in=STEP_DELAY)


def _step(
    state: State,
    name: str,
    status: Status,
    *,
    stock: tuple[int, int, int] | None = None,
    next_in: timedelta | None = None,
) -> Step:
    history = (*state.history, (name, status.value))
    return Step(name, attrs.evolve(state, status=status, history=history), stock, next_in)
