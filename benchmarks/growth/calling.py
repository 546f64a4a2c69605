"""The calls that are measured, on a storage with so many keys."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import count, cycle

from statekeep import Storage

from benchmarks.growth.filling import QUEUE, SET, due, members_beside
from benchmarks.growth.timing import Call
from benchmarks.workload import SHORT, key, picks

PICKS = 200_000
"""Of all keys, at random: more than any cache of a database holds the pages of."""

SAMPLE = 10_000
"""Keys for conditional writes, which need a version each."""

PAGE = 1_000


def _get(storage: Storage, keys: int) -> Call:
    names, get = _names(keys), storage.values.get
    return lambda: get(next(names))


def _put(storage: Storage, keys: int) -> Call:
    names, put = _names(keys), storage.values.put
    return lambda: put(next(names), SHORT)


def _conditional(storage: Storage, keys: int) -> Call:
    numbers = random.Random(SAMPLE).sample(range(keys), min(SAMPLE, keys))
    found = storage.values.get_many([key(number) for number in numbers])
    versions = {name: entry.version for name, entry in found.items()}
    names = cycle(versions)

    def put() -> None:
        name = next(names)
        versions[name] = storage.values.put(name, SHORT, expected=versions[name])

    return put


def _page(storage: Storage, keys: int) -> Call:
    places = [page.cursor for page in storage.sets.pages(SET, PAGE)]
    random.Random(PAGE).shuffle(places)
    places_in_turn = cycle(places)
    return lambda: storage.sets.page(SET, limit=PAGE, cursor=next(places_in_turn))


def _contains(storage: Storage, keys: int) -> Call:
    members = map(str.encode, _names(members_beside(keys)))
    return lambda: storage.sets.contains(SET, next(members))


def _in_and_out(storage: Storage, keys: int) -> Call:
    numbers = count(keys)

    def add_and_remove() -> None:
        member = key(next(numbers)).encode()
        storage.sets.add(SET, member)
        storage.sets.remove(SET, member)

    return add_and_remove


def _work(storage: Storage, keys: int) -> Call:
    later = count(members_beside(keys))

    def claim() -> None:
        (message,) = storage.deferred.claim(QUEUE)
        storage.deferred.acknowledge(message)
        storage.deferred.schedule(QUEUE, message.id, due=due(next(later)))

    return claim


def _names(keys: int) -> Iterator[str]:
    return cycle(_picked(keys))


@cache
def _picked(keys: int) -> list[str]:
    return picks(keys, min(PICKS, 10 * keys))


CALLS: Mapping[str, Callable[[Storage, int], Call]] = {
    "get": _get,
    "put": _put,
    "conditional put": _conditional,
    f"a page of {PAGE} members": _page,
    "contains": _contains,
    "add and remove a member": _in_and_out,
    "claim, acknowledge, schedule": _work,
}
"""Made for a storage with so many keys; each picks what it asks for at random."""
