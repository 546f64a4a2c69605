"""Reads the keys that Infinitic wrote: strings are values, sets are sets.

The version of the value `key` is the string `key:version`, in decimal digits. So a string whose
name ends so, whose text is a number, and before whose suffix there is another string, is no value
but a version. Keys of other types are another program's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial

from statekeep import cursors
from statekeep.backend import LARGE_VALUE_BYTES, BackendStats, Capabilities, KindStats, Target
from statekeep.errors import Closed
from statekeep.foreign import ForeignSource, key_of, members_of
from statekeep.infinitic import Values
from statekeep.model import Entry, KeySetRecord, Page, Record, RecordKind
from statekeep.usage import Usage

from statekeep_redis.config import InfiniticRedisConfig
from statekeep_redis.counting import told
from statekeep_redis.driver import Command, Reply
from statekeep_redis.failures import Refusal
from statekeep_redis.iteration import Portion, Position, Sized, page
from statekeep_redis.scanning import PAGE_BYTES
from statekeep_redis.server import Single

SUFFIX = b":version"
NUMBER = re.compile(rb"[0-9]{1,19}")
RUN_ID = re.compile(rb"run_id:(\w+)")
SPECIAL = re.compile(rb"([*?\[\]\\])")
"""What a pattern of SCAN must say with a backslash before it."""

TYPES = {RecordKind.KEY_VALUE: b"string", RecordKind.KEY_SET: b"set"}
COUNTED_AT_ONCE = 1000
INFO: Command = ("INFO", "server")


class InfiniticRedis(ForeignSource):
    """What Infinitic keeps in a Redis server, or in whichever one the Sentinels call the master."""

    def __init__(self, config: InfiniticRedisConfig) -> None:
        self._config = config
        self._prefix = config.prefix
        self._place = Single(config)
        self._values = Values(self.where, config.undecodable)
        self._closed = False
        self._capabilities = Capabilities(
            durable=True,
            shared=True,
            max_value_bytes=LARGE_VALUE_BYTES,
            snapshot_reads=False,
            expiry=False,
            read_only=True,
            max_connections=config.pool.max_total if config.pool.max_total > 0 else None,
        )

    @property
    def where(self) -> str:
        """The server."""
        return f"Redis {self._place.name}"

    @property
    def capabilities(self) -> Capabilities:
        """Reading; several sets are not of one instant."""
        return self._capabilities

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        return Target("redis", *self._config.where(), str(self._config.database))

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`: one `MGET` of values and versions, so of one instant."""
        asked = {key: _words(key.encode()) for key in keys if key.startswith(self._prefix)}
        stored = iter(self._mget([word for words in asked.values() for word in words]))
        found: dict[str, Entry] = {}
        for key, words in asked.items():
            value, version, *before = (next(stored) for _ in words)
            is_version = any(base is not None for base in before) and _is_number(value)
            if value is not None and not is_version:
                found[key] = self._values.entry(key, _version(version), value)
        return found

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        ours = [key for key in keys if key.startswith(self._prefix)]
        replies = self._each([("SMEMBERS", key.encode()) for key in ours], ())
        found = {
            key: frozenset(members_of(self.where, key, members))
            for key, members in zip(ours, replies, strict=True)
        }
        return {key: found.get(key, frozenset()) for key in keys}

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`."""
        scope = f"members {key}"
        position = Position.decoded(cursors.decode(scope, cursor))
        if not key.startswith(self._prefix):
            return Page(())
        step = partial(self._step, ("SSCAN", key.encode()), ())
        found, behind = page(step, _as_they_are, position, limit, PAGE_BYTES)
        members = members_of(self.where, key, found)
        return Page(members, None if behind is None else cursors.encode(scope, behind.encoded()))

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        if not members or not key.startswith(self._prefix):
            return frozenset()
        (there,) = self._each([("SMISMEMBER", key.encode(), *members)], (0,) * len(members))
        return frozenset(m for m, found in zip(members, there, strict=True) if found)

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`: in the server's own order, which is none."""
        if kind is RecordKind.DEFERRED:
            return self.no_messages(prefix, cursor)
        scope = f"{kind.value} {prefix}"
        position = Position.decoded(cursors.decode(scope, cursor))
        begin = max(prefix, self._prefix, key=len)
        if not (begin.startswith(prefix) and begin.startswith(self._prefix)):
            return Page(())
        names, behind = self._names(kind, begin, position, limit)
        records: list[Record] = []
        if kind is RecordKind.KEY_SET:
            records += (KeySetRecord(key_of(self.where, "set", name)) for name in names)
        else:
            stored = self._mget([*names, *(name + SUFFIX for name in names)])
            values, versions = stored[: len(names)], stored[len(names) :]
            records += (
                self._values.record(name, _version(version), value)
                for name, value, version in zip(names, values, versions, strict=True)
                if value is not None
            )
        return Page(records, None if behind is None else cursors.encode(scope, behind.encoded()))

    def _names(
        self, kind: RecordKind, begin: str, position: Position, limit: int
    ) -> tuple[list[bytes], Position | None]:
        pattern = SPECIAL.sub(rb"\\\1", begin.encode()) + b"*"
        options: Command = (*(("MATCH", pattern) if begin else ()), "TYPE", TYPES[kind])
        measure = self._sized_values if kind is RecordKind.KEY_VALUE else _unsized
        return page(partial(self._step, ("SCAN",), options), measure, position, limit, PAGE_BYTES)

    def _step(self, command: Command, options: Command, cursor: int, count: int) -> Portion:
        """A portion, and which process of the server it is from."""
        ask = (*command, cursor, "COUNT", count, *options)
        info, reply = self._each([INFO, ask], (b"0", ()))
        found = RUN_ID.search(info)
        return Portion(found.group(1) if found else b"", int(reply[0]), reply[1])

    def _sized_values(self, names: Sequence[bytes]) -> Sized:
        """Those that are values and not versions, with their sizes."""
        marked = [name for name in names if len(_words(name)) > 2]
        asked: list[Command] = [("STRLEN", name) for name in names]
        asked += (("TYPE", name.removesuffix(SUFFIX)) for name in marked)
        asked += (("GETRANGE", name, 0, 19) for name in marked)
        replies = self._each(asked, b"")
        types = replies[len(names) : len(names) + len(marked)]
        texts = replies[len(names) + len(marked) :]
        versions = {
            name
            for name, kind, text in zip(marked, types, texts, strict=True)
            if kind == b"string" and _is_number(text)
        }
        sizes = zip(names, replies[: len(names)], strict=True)
        return [(name, size or 0) for name, size in sizes if name not in versions]

    def setup(self) -> None:
        """Creates nothing: checks that the server answers and lets us do what we need.

        Raises:
            AccessDenied: the ACL user may not; the message names the command.
        """
        name = f"{self._prefix}workflow".encode()
        reads: list[Command] = [
            INFO,
            ("SCAN", 0, "COUNT", 1, "TYPE", "set"),
            ("MGET", name, name + SUFFIX),
            ("STRLEN", name),
            ("TYPE", name),
            ("GETRANGE", name, 0, 0),
            ("SCARD", name),
            ("SMEMBERS", name),
            ("SMISMEMBER", name, b"member"),
            ("SSCAN", name, 0),
        ]
        self._each(reads, None)
        self._place.fill()

    def ping(self) -> None:
        """See `Backend.ping`."""
        self._each([("PING",)], None)

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._place.pool_stats())

    def stats(self) -> BackendStats:
        """See `Backend.stats`; bytes as they are stored, compressed or not."""
        self._check_open()
        memory, details = told(self._place)
        kinds = {
            RecordKind.KEY_VALUE: self._count(RecordKind.KEY_VALUE),
            RecordKind.KEY_SET: self._count(RecordKind.KEY_SET),
            RecordKind.DEFERRED: KindStats(),
        }
        return BackendStats(
            pool=self._place.pool_stats(), kinds=kinds, stored_bytes=memory, details=details
        )

    def _count(self, kind: RecordKind) -> KindStats:
        measure = self._sizes if kind is RecordKind.KEY_VALUE else self._set_sizes
        records = size = 0
        position: Position | None = Position()
        while position is not None:
            names, position = self._names(kind, self._prefix, position, COUNTED_AT_ONCE)
            records += len(names)
            size += sum(measure(names))
        return KindStats(records=records, bytes=size)

    def _sizes(self, names: Sequence[bytes]) -> Iterable[int]:
        return self._each([("STRLEN", name) for name in names], 0)

    def _set_sizes(self, names: Sequence[bytes]) -> Iterable[int]:
        """The bytes of the members of each; a large set's page by page."""
        counts = self._each([("SCARD", name) for name in names], 0)
        many = {name for name, count in zip(names, counts, strict=True) if count > COUNTED_AT_ONCE}
        few = [("SMEMBERS", name) for name in names if name not in many]
        yield from (sum(map(len, members)) for members in self._each(few, ()))
        for name in many:
            step = partial(self._step, ("SSCAN", name), ())
            position: Position | None = Position()
            while position is not None:
                found, position = page(step, _as_they_are, position, COUNTED_AT_ONCE, PAGE_BYTES)
                yield sum(map(len, found))

    def close(self) -> None:
        """See `Backend.close`."""
        self._closed = True
        self._place.close()

    def _mget(self, names: Sequence[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = []
        if names:
            (found,) = self._each([("MGET", *names)], ())
        return found

    def _each(self, commands: Sequence[Command], of_another_type: Reply) -> list[Reply]:
        """The answers to reads; a given one where a key is of another type than was asked for."""
        self._check_open()
        replies = (
            self._place.calls([(0, each) for each in commands], write=False) if commands else []
        )
        for reply in replies:
            if isinstance(reply, Refusal) and reply.code != "WRONGTYPE":
                raise reply.error
        return [of_another_type if isinstance(reply, Refusal) else reply for reply in replies]

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this redis storage is closed; open another one")


def _words(name: bytes) -> tuple[bytes, ...]:
    """What to read of a value: itself, its version, and whose version it may be."""
    base = name.removesuffix(SUFFIX)
    return (name, name + SUFFIX, *((base,) if base and base != name else ()))


def _is_number(text: bytes | None) -> bool:
    return text is not None and NUMBER.fullmatch(text) is not None


def _version(text: bytes | None) -> int | None:
    """The number in the string beside a value; None where that is not there, or a value itself."""
    return int(text) if text is not None and NUMBER.fullmatch(text) else None


def _as_they_are(members: Sequence[bytes]) -> Sized:
    return [(member, len(member)) for member in members]


def _unsized(names: Sequence[bytes]) -> Sized:
    return [(name, 0) for name in names]
