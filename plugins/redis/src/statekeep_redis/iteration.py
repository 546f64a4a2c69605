"""Pages over SCAN and SSCAN, which answer in portions of no certain size.

The server hands out whole buckets of its hash table, and goes on from a cursor. That all which is
there throughout is met holds only if what one cursor gave was taken whole: so a page ends before
a portion that does not fit. Only a single bucket that outgrows a page is cut, and if it changed
by the next page, it is read again. Cursors mean nothing to another server process: each has a hash
seed of its own (https://redis.io/docs/latest/commands/scan/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from zlib import crc32

from attrs import evolve, frozen
from statekeep.errors import InvalidArgument

MOST = 1000
"""Entries that one portion is asked for at most."""

HEAD = Struct(">IQ")
"""Of a position: the CRC-32 of the server's run id, and its cursor."""

CUT = Struct(">I")
"""Where a portion was cut: the CRC-32 of what was taken of it; the last name of that follows."""

Sized = Sequence[tuple[bytes, int]]
"""Names and how many bytes belong to each."""


@frozen
class Portion:
    """What the server answered to one cursor.

    Attributes:
        server: the run id of its process.
        cursor: where to go on; 0 at the end.
        names: what it found, perhaps twice.
    """

    server: bytes
    cursor: int
    names: Sequence[bytes]


@frozen
class Position:
    """Where a page begins.

    Attributes:
        server: the CRC-32 of the run id of the process that the cursor is from; None at the start.
        cursor: the server's.
        digest: the CRC-32 of what was taken already of a portion that was cut.
        last: the last name of that; None where the portion is whole.
    """

    server: int | None = None
    cursor: int = 0
    digest: int = 0
    last: bytes | None = None

    def encoded(self) -> bytes:
        """As bytes for a cursor of statekeep's."""
        head = HEAD.pack(self.server or 0, self.cursor)
        return head if self.last is None else head + CUT.pack(self.digest) + self.last

    @classmethod
    def decoded(cls, data: bytes | None) -> Position:
        """From such bytes, or from None at the start.

        Raises:
            InvalidArgument: they are none.
        """
        if data is None:
            return cls()
        rest = len(data) - HEAD.size
        if rest < 0 or 0 < rest < CUT.size:
            raise InvalidArgument("this cursor is not one of this scan")
        server, cursor = HEAD.unpack_from(data)
        if not rest:
            return cls(server, cursor)
        (digest,) = CUT.unpack_from(data, HEAD.size)
        return cls(server, cursor, digest, data[HEAD.size + CUT.size :])


def page(
    step: Callable[[int, int], Portion],
    measure: Callable[[Sequence[bytes]], Sized],
    position: Position,
    limit: int,
    most_bytes: int,
) -> tuple[list[bytes], Position | None]:
    """The names of a page, and where the next one begins.

    Args:
        step: asks the server: a cursor and about how many entries.
        measure: which of some names are records, in their order, and their sizes.
        position: where to begin.
        limit: names at most.
        most_bytes: what their sizes may add up to; a single bucket may have more.

    Raises:
        InvalidArgument: the position is from another process of the server.
    """
    taken: dict[bytes, int] = {}
    count = min(limit, MOST)
    while True:
        portion = step(position.cursor, 1 if position.last is not None else count)
        position = _of_server(position, portion)
        names = _rest(position, sorted(set(portion.names)))
        found = measure([name for name in names if name not in taken])
        small = sum(size for _, size in found) + sum(taken.values()) <= most_bytes
        fits = len(found) <= limit - len(taken)
        alone = count == 1 or position.last is not None
        if fits and (small or (alone and not taken)):
            taken.update(found)
            position = Position(position.server, portion.cursor)
            if not portion.cursor:
                return list(taken), None
            if len(taken) == limit or not small:
                return list(taken), position
            count = min(MOST, limit - len(taken) if found else 2 * count)
        elif taken:
            return list(taken), position
        elif alone:
            kept = [name for name, _ in found[:limit]]
            return kept, _cut(position, portion.names, kept[-1])
        else:
            count = max(1, count // 4)


def _of_server(position: Position, portion: Portion) -> Position:
    """The position, bound to the server that answered."""
    server = crc32(portion.server)
    if position.server not in (None, server):
        raise InvalidArgument(
            "this cursor is from another process of the Redis server, which was restarted or "
            "failed over since: begin the scan again"
        )
    return evolve(position, server=server)


def _rest(position: Position, names: list[bytes]) -> list[bytes]:
    """What is left of a portion; all of it, where it is not as it was when it was cut."""
    if position.last is None:
        return names
    before = [name for name in names if name <= position.last]
    return names[len(before) :] if _digest(before) == position.digest else names


def _cut(position: Position, names: Iterable[bytes], last: bytes) -> Position:
    before = sorted({name for name in names if name <= last})
    return evolve(position, digest=_digest(before), last=last)


def _digest(names: Iterable[bytes]) -> int:
    digest = 0
    for name in names:
        digest = crc32(name, crc32(b"%d:" % len(name), digest))
    return digest
