"""The embedded backends beside what a person writes by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import statekeep
from statekeep import Storage

from benchmarks.bare import bare
from benchmarks.harness import (
    Comparison,
    Repeat,
    Side,
    Workshop,
    at_most,
    calls,
    microseconds,
)
from benchmarks.workload import KEYS, VALUE, fill, key, picks

MINUTE = timedelta(minutes=1)


def sqlite_get(workshop: Workshop) -> Iterator[Comparison]:
    """One value, and a hundred at once."""
    folder = workshop.folder_for("sqlite-get")
    with open_sqlite(folder, "normal") as storage, bare(folder / "bare.db", "normal") as hand:
        fill(storage)
        hand.fill()
        yield Comparison(
            "sqlite get",
            Side("values.get", calls(storage.values.get, picks())),
            Side("SELECT", calls(hand.get, picks())),
            at_most(2.0),
        )
        yield Comparison(
            "sqlite get_many of 100",
            Side("values.get_many", calls(storage.values.get_many, hundreds())),
            Side("SELECT ... IN", calls(hand.get_many, hundreds())),
        )


def sqlite_put(workshop: Workshop) -> Iterator[Comparison]:
    """One value over another, at two degrees of durability."""
    for synchronous in ("normal", "full"):
        folder = workshop.folder_for(f"sqlite-put-{synchronous}")
        with (
            open_sqlite(folder, synchronous) as storage,
            bare(folder / "bare.db", synchronous) as hand,
        ):
            fill(storage)
            hand.fill()
            yield Comparison(
                f"sqlite put, synchronous={synchronous}",
                Side("values.put", calls(putter(storage), picks())),
                Side("upsert", calls(hand.put, picks())),
                at_most(1.5),
                long=True,
            )


def sqlite_transaction(workshop: Workshop) -> Iterator[Comparison]:
    """Ten operations: check, three puts, delete, two adds, remove, schedule, cancel."""
    for synchronous in ("normal", "full"):
        folder = workshop.folder_for(f"sqlite-transaction-{synchronous}")
        with (
            open_sqlite(folder, synchronous) as storage,
            bare(folder / "bare.db", synchronous) as hand,
        ):
            for name in ("config", "order"):
                hand.put(name)
            yield Comparison(
                f"sqlite transaction of 10, synchronous={synchronous}",
                Side("storage.transaction", transactions(storage)),
                Side("BEGIN IMMEDIATE ... COMMIT", _steps(hand.transact, 1)),
                long=True,
            )


def memory(workshop: Workshop) -> Iterator[Comparison]:
    """The memory backend beside a dict under a lock."""
    lock = threading.Lock()
    state: dict[str, bytes] = {key(number): VALUE for number in range(KEYS)}

    def get(name: str) -> bytes | None:
        with lock:
            return state.get(name)

    def get_many(names: tuple[str, ...]) -> dict[str, bytes]:
        with lock:
            return {name: state[name] for name in names if name in state}

    def put(name: str) -> None:
        with lock:
            state[name] = VALUE

    with statekeep.open("memory:") as storage:
        fill(storage)
        yield Comparison(
            "memory get",
            Side("values.get", calls(storage.values.get, picks())),
            Side("lock and dict", calls(get, picks())),
            microseconds(2),
        )
        yield Comparison(
            "memory put",
            Side("values.put", calls(putter(storage), picks())),
            Side("lock and dict", calls(put, picks())),
        )
        yield Comparison(
            "memory get_many of 100",
            Side("values.get_many", calls(storage.values.get_many, hundreds())),
            Side("lock and dict", calls(get_many, hundreds())),
        )
        yield Comparison("memory transaction of 10", Side("transaction", transactions(storage)))


def open_sqlite(folder: Any, synchronous: str, **options: Any) -> Storage:
    """A new file in a folder."""
    return statekeep.open(
        {"sqlite": {"path": str(folder / "statekeep.db"), "synchronous": synchronous}}, **options
    )


def putter(storage: Storage, value: bytes = VALUE) -> Callable[[str], int]:
    """Puts the value under a key."""
    put = storage.values.put
    return lambda name: put(name, value)


def hundreds() -> list[tuple[str, ...]]:
    """A hundred different keys at a time."""
    names = list(dict.fromkeys(picks()))
    return [tuple(names[start : start + 100]) for start in range(0, len(names) - 99, 100)]


def transactions(storage: Storage) -> Repeat:
    """Transactions of ten operations, each after what the one before it left."""
    checked = storage.values.put("config", VALUE)
    first = storage.values.put("order", VALUE)

    def transact(number: int, version: int) -> int:
        with storage.transaction() as unit:
            unit.check("config", checked)
            unit.put("order", VALUE, expected=version)
            unit.put("history", VALUE)
            unit.put(f"step/{number}", VALUE)
            unit.delete(f"step/{number - 1}")
            unit.add("tag/open", b"%d" % number)
            unit.add("tag/eu", b"%d" % number)
            unit.remove("tag/open", b"%d" % (number - 1))
            unit.schedule("timers", f"{number}", due=MINUTE, payload=b"payload")
            unit.cancel("timers", f"{number - 1}")
        return unit.versions["order"]

    return _steps(transact, first)


def _steps(transact: Callable[[int, int], int], version: int) -> Repeat:
    state = {"number": 0, "version": version}

    def step(_: None) -> None:
        state["number"] += 1
        state["version"] = transact(state["number"], state["version"])

    return calls(step, [None])
