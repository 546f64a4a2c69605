"""Conditional puts of a batch that one call of a script can carry out: pure functions."""

from __future__ import annotations

from struct import Struct

from statekeep.model import Committed, Conflict, Outcome, Put

from statekeep_redis import codec, scripts
from statekeep_redis.driver import Command
from statekeep_redis.names import Names

MOST_UPDATES = 128
"""In one call: it keeps the server for about half a millisecond."""

MOST_BYTES = 4 * 2**20

RESULT = Struct(">cQ")


def portions(found: dict[int, Put]) -> list[dict[int, Put]]:
    """The updates in as few portions as are small enough."""
    made: list[dict[int, Put]] = []
    size = 0
    for number, put in found.items():
        size += len(put.value)
        if not made or len(made[-1]) == MOST_UPDATES or size > MOST_BYTES:
            made.append({})
            size = len(put.value)
        made[-1][number] = put
    return made


def command(names: Names, portion: dict[int, Put]) -> tuple[int, Command]:
    """The slot and the call of the script for a portion."""
    keys = [names.value(put.key) for put in portion.values()]
    arguments = [each for put in portion.values() for each in codec.replacement(put)]
    return names.slot(keys[0]), (
        "EVALSHA",
        scripts.UPDATES.sha,
        len(keys),
        *keys,
        *arguments,
    )


def outcomes(portion: dict[int, Put], reply: bytes) -> dict[int, Outcome]:
    """What came of a portion; left out: what must go the general way."""
    found: dict[int, Outcome] = {}
    for (number, put), (what, version) in zip(
        portion.items(), RESULT.iter_unpack(reply), strict=True
    ):
        if what == b"1":
            found[number] = Committed({put.key: (put.expected or 0) + 1})
        elif what == b"0":
            found[number] = Conflict({put.key: version})
    return found
