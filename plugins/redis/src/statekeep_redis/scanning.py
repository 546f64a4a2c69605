"""Pages of records by the index of names, which every slot has for itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from statekeep import cursors
from statekeep.errors import InvalidArgument
from statekeep.model import (
    DeferredMessage,
    KeySetRecord,
    KeyValueRecord,
    Page,
    Record,
    RecordKind,
)

from statekeep_redis import codec
from statekeep_redis.cluster import Cluster
from statekeep_redis.driver import Command, Reply
from statekeep_redis.failures import Refusal
from statekeep_redis.names import SLOTS, Names, hash_tag
from statekeep_redis.server import Single

LETTERS = {RecordKind.KEY_VALUE: b"v:", RecordKind.KEY_SET: b"s:", RecordKind.DEFERRED: b"m:"}
PAGE_BYTES = 16 * 2**20
"""Contents that one page holds at most, unless a single record is larger."""

SLOTS_AT_ONCE = 1024


class Scanner:
    """Reads names and contents.

    Args:
        names: the names below the prefix.
        place: where to send commands.
    """

    def __init__(self, names: Names, place: Single | Cluster) -> None:
        self._names = names
        self._place = place

    def page(self, kind: RecordKind, prefix: str, limit: int, cursor: str | None) -> Page[Record]:
        """See `Backend.scan`. A position is the slot, in two bytes, and the last name."""
        scope = f"{kind.value} {prefix}"
        position = cursors.decode(scope, cursor)
        after = None if position is None else _place_of(position)
        found = self.names(kind, prefix, limit + 1, after)
        more = len(found) > limit
        found = found[:limit]
        taken = self._fitting(kind, found)
        records = self._records(kind, found[:taken])
        if not more and taken == len(found):
            return Page(records)
        slot, name = found[taken - 1]
        return Page(records, cursors.encode(scope, slot.to_bytes(2, "big") + name))

    def names(
        self, kind: RecordKind, prefix: str, limit: int, after: tuple[int, bytes] | None = None
    ) -> list[tuple[int, bytes]]:
        """Up to `limit` names with their slots, from behind a place on."""
        letter = LETTERS[kind]
        begin = letter + prefix.encode()
        first, last = self._range(kind, prefix)
        start, low = (
            (first, b"[" + begin) if after is None else (after[0], b"(" + letter + after[1])
        )
        high = b"(" + _end(begin)
        found = self._read(start, low, high, limit)
        start += 1
        low = b"[" + begin
        while start < last and len(found) < limit:
            slots = range(start, min(start + SLOTS_AT_ONCE, last))
            for slot in self._filled(slots, low, high, limit - len(found)):
                found += self._read(slot, low, high, limit - len(found))
            start = slots.stop
        return [(slot, name[len(letter) :]) for slot, name in found[:limit]]

    def _range(self, kind: RecordKind, prefix: str) -> tuple[int, int]:
        """The slots that names with this prefix can be in."""
        if not self._names.spread:
            return 0, 1
        name: bytes | None = None
        if kind is RecordKind.DEFERRED and "\0" in prefix:
            name, _ = self._names.queue(prefix.partition("\0")[0])
        elif hash_tag(prefix.encode()) is not None:
            name = prefix.encode()
        if name is None:
            return 0, SLOTS
        slot = self._names.slot(name)
        return slot, slot + 1

    def _filled(self, slots: Sequence[int], low: bytes, high: bytes, wanted: int) -> Iterator[int]:
        """Those of these slots that have names in the range, until there are enough."""
        counts = self.each(
            [(slot, ("ZLEXCOUNT", self._names.scope(slot)[0], low, high)) for slot in slots]
        )
        for slot, count in zip(slots, counts, strict=True):
            if count:
                yield slot
                wanted -= count
                if wanted <= 0:
                    return

    def _read(self, slot: int, low: bytes, high: bytes, limit: int) -> list[tuple[int, bytes]]:
        if limit <= 0:
            return []
        command = ("ZRANGEBYLEX", self._names.scope(slot)[0], low, high, b"LIMIT", 0, limit)
        return [(slot, name) for name in self._place.call(slot, command, write=False)]

    def slots_with(self, letter: str) -> Iterator[int]:
        """The slots that have an index ("i"), a floor ("f") or expiry times ("x")."""
        if not self._names.spread:
            yield 0
            return
        number = "ifx".index(letter)
        there = self.each(
            [(slot, ("EXISTS", self._names.scope(slot)[number])) for slot in range(SLOTS)]
        )
        yield from (slot for slot, exists in enumerate(there) if exists)

    def sizes(self, kind: RecordKind, found: Sequence[tuple[int, bytes]]) -> list[int]:
        """The bytes of values or payloads; for a set, of its members."""
        commands: list[tuple[int, Command]] = []
        for slot, name in found:
            if kind is RecordKind.KEY_VALUE:
                commands.append((slot, ("STRLEN", self._names.value(name.decode()))))
            elif kind is RecordKind.KEY_SET:
                commands.append((slot, ("ZRANGE", self._names.members(name.decode()), 0, -1)))
            else:
                queue, id = _split(name)
                commands.append((slot, ("HSTRLEN", self._names.queue(queue)[1], b"p" + id)))
        replies = self.each(commands)
        if kind is RecordKind.KEY_SET:
            return [sum(map(len, members)) for members in replies]
        head = codec.HEADER.size if kind is RecordKind.KEY_VALUE else 0
        return [max(size - head, 0) for size in replies]

    def _fitting(self, kind: RecordKind, found: Sequence[tuple[int, bytes]]) -> int:
        """How many of these records one page can hold."""
        if kind is RecordKind.KEY_SET:
            return len(found)
        total = 0
        for number, size in enumerate(self.sizes(kind, found)):
            total += size
            if total > PAGE_BYTES and number:
                return number
        return len(found)

    def _records(self, kind: RecordKind, found: Sequence[tuple[int, bytes]]) -> tuple[Record, ...]:
        if kind is RecordKind.KEY_SET:
            return tuple(KeySetRecord(name.decode()) for _, name in found)
        if kind is RecordKind.DEFERRED:
            return tuple(self.messages([name for _, name in found]))
        keys = [name.decode() for _, name in found]
        stored = self.fan_out("MGET", [self._names.value(key) for key in keys])
        return tuple(
            KeyValueRecord(key, codec.entry(key, value))
            for key, value in zip(keys, stored, strict=True)
            if value is not None
        )

    def messages(self, names: Sequence[bytes]) -> Iterator[DeferredMessage]:
        """The messages of these names, absent ones left out."""
        wanted: list[tuple[int, Command]] = []
        for name in names:
            queue, id = _split(name)
            order, fields = self._names.queue(queue)
            wanted.append((self._names.slot(order), ("HMGET", fields, b"m" + id, b"p" + id)))
        for name, (fields, payload) in zip(names, self.each(wanted), strict=True):
            if fields is not None:
                queue, id = _split(name)
                yield codec.message(queue, id.decode(), fields, payload)

    def fan_out(self, command: str, names: Sequence[bytes]) -> list[Reply]:
        """The answers to a command of many keys, asked slot by slot where there are several.

        While a slot is being moved, its keys are asked for one by one, as they may be at either
        of two nodes.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for number, name in enumerate(names):
            groups[self._names.slot(name)].append(number)
        replies: list[Reply] = [None] * len(names)
        asked = [
            (slot, (command, *(names[number] for number in numbers)))
            for slot, numbers in groups.items()
        ]
        found = self._place.calls(asked, write=False) if asked else []
        for (slot, numbers), answer in zip(groups.items(), found, strict=True):
            values = answer
            if isinstance(answer, Refusal):
                if answer.code != "TRYAGAIN" or not self._names.spread:
                    raise answer.error
                values = [
                    one for (one,) in self.each([(slot, (command, names[n])) for n in numbers])
                ]
            for number, value in zip(numbers, values, strict=True):
                replies[number] = value
        return replies

    def each(self, commands: Sequence[tuple[int, Command]]) -> list[Reply]:
        """The answers to reads; raises the first refusal."""
        replies = self._place.calls(commands, write=False) if commands else []
        for reply in replies:
            if isinstance(reply, Refusal):
                raise reply.error
        return replies


def _end(begin: bytes) -> bytes:
    """The first text behind all that begin with this; names are UTF-8, so no byte is 255."""
    return begin + b"\xff"


def _split(name: bytes) -> tuple[str, bytes]:
    queue, _, id = name.partition(b"\0")
    return queue.decode(), id


def _place_of(position: bytes) -> tuple[int, bytes]:
    slot = int.from_bytes(position[:2], "big")
    if len(position) < 3 or slot >= SLOTS:
        raise InvalidArgument("this cursor is not one of this scan")
    return slot, position[2:]
