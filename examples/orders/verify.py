"""Checks the store against the input, record by record, by arithmetic of its own.

It shares nothing with the workers but the bank's answers (`declines`): it reads the file, the
keys and the stored JSON itself, and works out what must be there without taking a single step.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from statekeep import CorruptValue, Storage

from examples.orders.keys import Keys
from examples.orders.model import PAYMENT_TRIES, declines


@frozen
class Expected:
    """What must have become of one order."""

    facts: Mapping[str, Any]
    status: str
    tries: int
    paid_cents: int
    history: list[list[str]]

    @property
    def steps(self) -> list[str]:
        """The names of the steps that it must have taken."""
        return [step for step, _ in self.history]


@define
class Tally:
    """A number that was found in the store, and what the input says that it must be."""

    found: int = 0
    expected: int = 0


@define
class Report:
    """What was found.

    Attributes:
        problems: every difference; empty when nothing was lost or doubled.
        steps: the expected ones, and how many of them were applied exactly once.
        redelivered: how many steps were applied on a second or later delivery of their timer.
        conflicts: how often a step was begun again because other workers came first.
        fenced: how many steps were refused because their worker had lost its lease.
    """

    orders: Tally = field(factory=Tally)
    done: Tally = field(factory=Tally)
    cancelled: Tally = field(factory=Tally)
    steps: Tally = field(factory=Tally)
    paid_cents: Tally = field(factory=Tally)
    shipped: Tally = field(factory=Tally)
    redelivered: int = 0
    conflicts: int = 0
    fenced: int = 0
    problems: list[str] = field(factory=list)


def expectations(path: Path) -> dict[str, Expected]:
    """What must become of each order of the input, by its id."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    rows = [row for row in table if any(cell.strip() for cell in row)]
    header = [name.strip() for name in rows[0]]
    found = (dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in rows[1:])
    return {row["id"]: _expected(row) for row in found}


def _expected(row: Mapping[str, str]) -> Expected:
    id, quantity, price = row["id"], int(row["quantity"]), int(row["price_cents"])
    facts = {name: row[name] for name in ("id", "customer", "sku", "region")}
    answers = [declines(id, number) for number in range(1, PAYMENT_TRIES + 1)]
    paid = False in answers
    tries = answers.index(False) + 1 if paid else PAYMENT_TRIES
    history = [["reserve", "reserved"]]
    history += [[f"pay-{number}", "retrying"] for number in range(1, tries)]
    history += [[f"pay-{tries}", "paid"], ["ship", "done"]] if paid else []
    history += [[f"pay-{tries}", "refused"], ["release", "cancelled"]] if not paid else []
    return Expected(
        facts={**facts, "quantity": quantity, "price_cents": price},
        status="done" if paid else "cancelled",
        tries=tries,
        paid_cents=quantity * price if paid else 0,
        history=history,
    )


def verify(storage: Storage, keys: Keys, path: Path) -> Report:
    """Compares everything that a finished run left in the store with its input."""
    expected = expectations(path)
    report = _what_must_be(expected)
    try:
        values = {
            key.removeprefix(keys.prefix): entry.value
            for key, entry in storage.values.scan(keys.prefix)
        }
    except CorruptValue as error:
        report.problems.append(str(error))
        return report
    report.fenced = int(values.pop("fenced", b"0"))
    values.pop("input", None)
    histories = _check_orders(report, expected, values)
    effects = _check_effects(report, expected, values)
    report.steps.found = sum(
        (id, step) in effects and histories[id][step] == 1
        for id, each in expected.items()
        for step in each.steps
    )
    _check_stock(report, expected, values)
    report.problems += [f"{key}: should not be there" for key in sorted(values)]
    _check_tags(report, expected, storage, keys)
    report.problems += [
        f"timer of order {each.id}: should have been acknowledged, is due {each.due}"
        for each in storage.deferred.scan(keys.timers)
    ]
    return report


def _what_must_be(expected: Mapping[str, Expected]) -> Report:
    report, all = Report(), expected.values()
    report.orders.expected = len(all)
    report.done.expected = sum(each.status == "done" for each in all)
    report.cancelled.expected = sum(each.status == "cancelled" for each in all)
    report.steps.expected = sum(len(each.steps) for each in all)
    report.paid_cents.expected = sum(each.paid_cents for each in all)
    report.shipped.expected = sum(each.facts["quantity"] for each in all if each.status == "done")
    return report


def _check_orders(
    report: Report, expected: Mapping[str, Expected], values: dict[str, bytes]
) -> dict[str, Counter[str]]:
    """Compares states; returns how often each step is in the history of each order."""
    histories: dict[str, Counter[str]] = {}
    for id, want in expected.items():
        state = _take(report, values, f"order/{id}")
        report.problems += _differences(f"order {id}", state, want)
        histories[id] = Counter(step for step, _ in state.get("history", ()))
        report.orders.found += bool(state)
        report.done.found += state.get("status") == "done"
        report.cancelled.found += state.get("status") == "cancelled"
        report.paid_cents.found += state.get("paid_cents", 0)
    return histories


def _differences(name: str, state: Mapping[str, Any], want: Expected) -> Iterator[str]:
    fields = {
        "order": want.facts,
        "status": want.status,
        "tries": want.tries,
        "paid_cents": want.paid_cents,
        "history": want.history,
    }
    for key, value in fields.items() if state else ():
        if state.get(key) != value:
            yield f"{name}: {key} should be {value}, is {state.get(key)}"


def _check_effects(
    report: Report, expected: Mapping[str, Expected], values: dict[str, bytes]
) -> set[tuple[str, str]]:
    """Finds the proof of each step; returns the steps that have one."""
    found = set()
    for id, want in expected.items():
        for step in want.steps:
            proof = _take(report, values, f"effect/{id}/{step}")
            if proof:
                found.add((id, step))
                report.redelivered += proof["delivery"] > 1
                report.conflicts += proof["conflicts"]
    return found


def _check_stock(
    report: Report, expected: Mapping[str, Expected], values: dict[str, bytes]
) -> None:
    ordered: Counter[str] = Counter()
    shipped: Counter[str] = Counter()
    for want in expected.values():
        sku, quantity = want.facts["sku"], want.facts["quantity"]
        ordered[sku] += quantity
        shipped[sku] += quantity if want.status == "done" else 0
    for sku, total in ordered.items():
        left = {"available": total - shipped[sku], "reserved": 0, "shipped": shipped[sku]}
        stock = _take(report, values, f"stock/{sku}")
        report.shipped.found += stock.get("shipped", 0)
        if stock and stock != left:
            report.problems.append(f"stock of {sku}: should be {left}, is {stock}")


def _check_tags(
    report: Report, expected: Mapping[str, Expected], storage: Storage, keys: Keys
) -> None:
    want: dict[str, set[str]] = {}
    for id, each in expected.items():
        for tag in (f"status/{each.status}", f"region/{each.facts['region']}"):
            want.setdefault(tag, set()).add(id)
    found = {
        key.removeprefix(keys.prefix): {
            member.decode() for page in storage.sets.pages(key) for member in page.items
        }
        for key in storage.sets.scan(keys.prefix)
    }
    for tag in sorted(want.keys() | found.keys()):
        there, due = found.get(tag, set()), want.get(tag, set())
        report.problems += _each(f"tag {tag}", "is missing", due - there)
        report.problems += _each(f"tag {tag}", "should not be there", there - due)


def _each(name: str, what: str, ids: Iterable[str]) -> list[str]:
    return [f"{name}: order {id} {what}" for id in sorted(ids)]


def _take(report: Report, values: dict[str, bytes], key: str) -> dict[str, Any]:
    """A record, which is then accounted for; empty, and a problem, where it is not there."""
    value = values.pop(key, None)
    if value is None:
        report.problems.append(f"{key}: is missing")
        return {}
    try:
        content = json.loads(value)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        report.problems.append(f"{key}: should be a JSON object, is {value[:40]!r}")
        return {}
    return content
