"""The contract over Redis: one script for each transaction, one command for most reads."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta

from attrs import evolve
from statekeep import cursors
from statekeep.backend import (
    LARGE_VALUE_BYTES,
    AtomicScope,
    Backend,
    BackendStats,
    Capabilities,
    Target,
)
from statekeep.clock import duration_micros
from statekeep.errors import (
    AccessDenied,
    Closed,
    StorageError,
)
from statekeep.findings import Finding
from statekeep.model import (
    DeferredMessage,
    Entry,
    Outcome,
    Page,
    Record,
    RecordKind,
    Transaction,
)
from statekeep.pending import Pending, Steps
from statekeep.usage import Usage

from statekeep_redis import codec, doctor, scripts
from statekeep_redis.cluster import Cluster
from statekeep_redis.config import RedisConfig
from statekeep_redis.counting import count
from statekeep_redis.driver import Command, Link, Reply
from statekeep_redis.failures import Refusal
from statekeep_redis.names import Names, hash_tag
from statekeep_redis.scanning import Scanner
from statekeep_redis.server import Single
from statekeep_redis.writes import Writer

CLAIM_BYTES = 64 * 2**20
"""Payloads that one claim hands out at most, so that no answer outgrows the memory."""

PURGE_BATCH = 1000


class RedisBackend(Backend):
    """State in Redis.

    Args:
        config: where, and how.
    """

    def __init__(self, config: RedisConfig) -> None:
        prefix = config.prefix.encode()
        spread = bool(config.nodes) and hash_tag(prefix) is None
        self._config = config
        self._names = Names(prefix, spread)
        self._place: Single | Cluster = Cluster(config) if config.nodes else Single(config)
        self._scanner = Scanner(self._names, self._place)
        self._wait = config.wait_replicas > 0
        self._writer = Writer(
            self._names, self._place, wait=self._wait, most_bytes=LARGE_VALUE_BYTES
        )
        self._closed = False
        self._capabilities = Capabilities(
            durable=True,
            shared=True,
            max_value_bytes=LARGE_VALUE_BYTES,
            atomic_scope=AtomicScope.HASH_SLOT if spread else AtomicScope.EVERYTHING,
            snapshot_reads=not spread,
            reclaims_expired=True,
            max_connections=config.pool.max_total if config.pool.max_total > 0 else None,
        )

    @property
    def capabilities(self) -> Capabilities:
        """As durable as the server is configured to be; in a Cluster, atomic within a slot."""
        return self._capabilities

    @property
    def target(self) -> Target:
        """See `Backend.target`."""
        return Target("redis", *self._config.where(), str(self._config.database))

    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """See `Backend.get_many`: one `MGET`, in a Cluster one for each slot."""
        self._check_open()
        if len(keys) == 1:
            name = self._names.value(keys[0])
            stored = self._place.call(self._names.slot(name), ("GET", name), write=False)
            return _entries(keys, (stored,))
        return _entries(keys, self._stored(keys)) if keys else {}

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """See `Backend.start_get_many`; not in a Cluster."""
        if self._closed or not keys:
            return None

        def steps(link: Link) -> Steps[dict[str, Entry]]:
            names = [self._names.value(key) for key in keys]
            (stored,) = yield link.begin((("MGET", *names),), write=False)
            return _entries(keys, stored)

        return self._place.start(steps)

    def _stored(self, keys: Sequence[str]) -> list[Reply]:
        names = [self._names.value(key) for key in keys]
        if not self._names.spread:
            values: list[Reply] = self._place.call(0, ("MGET", *names), write=False)
            return values
        return self._scanner.fan_out("MGET", names)

    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """See `Backend.members_many`."""
        self._check_open()
        names = [self._names.members(key) for key in keys]
        if len(names) > 1 and not self._names.spread:
            script: Command = ("EVALSHA", scripts.MEMBERS.sha, len(names), *names)
            found = self._place.call(0, script, write=False)
        else:
            found = self._scanner.each(
                [(self._names.slot(name), ("ZRANGE", name, 0, -1)) for name in names]
            )
        return {key: frozenset(members) for key, members in zip(keys, found, strict=True)}

    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """See `Backend.members`: in the order of the members, from behind the last one."""
        self._check_open()
        scope = f"members {key}"
        position = cursors.decode(scope, cursor)
        start = b"-" if position is None else b"(" + position
        name = self._names.members(key)
        command = ("ZRANGEBYLEX", name, start, b"+", b"LIMIT", 0, limit + 1)
        found = self._place.call(self._names.slot(name), command, write=False)
        if len(found) <= limit:
            return Page(found)
        return Page(found[:limit], cursors.encode(scope, found[limit - 1]))

    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """See `Backend.contains`."""
        self._check_open()
        if not members:
            return frozenset()
        name = self._names.members(key)
        scores = self._place.call(self._names.slot(name), ("ZMSCORE", name, *members), write=False)
        return frozenset(m for m, score in zip(members, scores, strict=True) if score is not None)

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """See `Backend.messages_many`."""
        self._check_open()
        wanted = [f"{queue}\0{id}".encode() for queue, id in names]
        return {each.name: each for each in self._scanner.messages(wanted)}

    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """See `Backend.claim`."""
        self._check_open()
        order, fields = self._names.queue(queue)
        token = secrets.token_hex(8) + "-"
        arguments = (limit, duration_micros(lease), token, CLAIM_BYTES)
        command = ("EVALSHA", scripts.CLAIM.sha, 2, order, fields, *arguments)
        (found,) = self._place.calls(
            [(self._names.slot(order), command)], write=True, wait=self._wait
        )
        if isinstance(found, Refusal):
            raise found.error
        parts = iter(found)
        return [
            codec.message(queue, id.decode(), content, payload)
            for id, content, payload in zip(parts, parts, parts, strict=True)
        ]

    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """See `Backend.scan`: by the index of names (in a Cluster, slot by slot)."""
        self._check_open()
        return self._scanner.page(kind, prefix, limit, cursor)

    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """See `Backend.commit`."""
        self._check_open()
        return self._writer.commit(transactions)

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """See `Backend.start_commit`; not in a Cluster, nor where replicas are waited for."""
        return None if self._closed else self._writer.start(transactions)

    def setup(self) -> None:
        """Nothing to create: checks that the server answers and lets us do what we need."""
        self._check_open()
        index, _, _ = self._names.scope(0)
        slot = self._names.slot(index)
        denied = self._place.call(slot, ("EVALSHA", scripts.CHECK.sha, 1, index), write=False)
        if denied:
            names = " ".join(f"+{name.decode().lower()}" for name in denied)
            raise AccessDenied(
                f"redis: the user {self._config.username or 'default'!r} of {self._place.name} "
                f"lacks permissions: ACL SETUSER ... {names} ~{self._config.prefix}*"
            )
        self._learn_limit()
        self._place.fill()

    def _learn_limit(self) -> None:
        for _, ask in self._place.servers():
            try:
                reply = ask(("CONFIG", "GET", "proto-max-bulk-len"))
            except StorageError:
                return  # not allowed to ask: Redis' default is far above ours
            limit = int(reply[1]) - codec.HEADER.size if reply else LARGE_VALUE_BYTES
            if limit < self._capabilities.max_value_bytes:
                self._writer.most_bytes = limit
                self._capabilities = evolve(self._capabilities, max_value_bytes=limit)

    def ping(self) -> None:
        """See `Backend.ping`; of a Cluster, every master."""
        self._check_open()
        for _, ask in self._place.servers():
            ask(("PING",))

    def usage(self) -> Usage:
        """See `Backend.usage`."""
        return Usage(pool=self._place.pool_stats())

    def stats(self) -> BackendStats:
        """See `Backend.stats`: the sizes of all records, and the memory of the servers."""
        self._check_open()
        return count(self._place, self._scanner)

    def examine(self) -> Iterator[Finding]:
        """See `Backend.examine`."""
        self._check_open()
        return doctor.examine(self._place, self._names, self._scanner, self._config)

    def purge(self) -> int:
        """See `Backend.purge`: Redis removed the values, this removes their names."""
        self._check_open()
        removed = 0
        for slot in self._scanner.slots_with("x"):
            index, _, expiry = self._names.scope(slot)
            command = ("EVALSHA", scripts.PURGE.sha, 2, index, expiry, PURGE_BATCH)
            while True:
                gone = self._place.call(slot, command, write=True)
                removed += gone
                if gone < PURGE_BATCH:
                    break
        return removed

    def close(self) -> None:
        """See `Backend.close`."""
        self._closed = True
        self._place.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this redis storage is closed; open another one")


def _entries(keys: Sequence[str], stored: Sequence[bytes | None]) -> dict[str, Entry]:
    found = zip(keys, stored, strict=True)
    return {key: codec.entry(key, value) for key, value in found if value is not None}
