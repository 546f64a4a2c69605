"""The contract of a backend: what a plugin author implements, and what every layer wraps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from enum import Enum

from attrs import field, frozen

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
from statekeep.pending import Pending
from statekeep.usage import Usage

MIB = 2**20
LARGE_VALUE_BYTES = 64 * MIB + 4096
"""What a backend without a limit of its own states: 64 MiB and room for the envelope."""


class AtomicScope(Enum):
    """Which operations one transaction may hold."""

    EVERYTHING = "everything"
    HASH_SLOT = "hash_slot"


@frozen(kw_only=True)
class Capabilities:
    """What a backend promises. What is not declared is absent, and the kit asserts that it is.

    Attributes:
        durable: a committed transaction survives the end of the process and of the server.
        shared: several processes see the same state.
        max_value_bytes: the largest value or payload, in bytes; at least 4 MiB.
        atomic_scope: which operations one transaction may hold.
        snapshot_reads: `get_many` and `members_many` read one instant.
        fresh_reads: a read sees what any process wrote before it began; without it, conditional
            writes alone tell what is current.
        expiry: `Put.ttl` is honoured; else it is `Unsupported`.
        reclaims_expired: the space of expired values comes back without `purge()`.
        read_only: every write is `Unsupported`.
        max_connections: how many calls can be under way at once; None where there is no bound.
    """

    durable: bool
    shared: bool
    max_value_bytes: int
    atomic_scope: AtomicScope = AtomicScope.EVERYTHING
    snapshot_reads: bool = True
    fresh_reads: bool = True
    expiry: bool = True
    reclaims_expired: bool = False
    read_only: bool = False
    max_connections: int | None = None


@frozen(kw_only=True)
class KindStats:
    """How much there is of one kind: records, and the bytes of their contents."""

    records: int = 0
    bytes: int = 0


@frozen(kw_only=True)
class BackendStats(Usage):
    """What `stats()` answers: `Usage`, and what is in the store. Not for a hot path.

    Attributes:
        kinds: records and bytes by kind; expired values count until they are purged.
        stored_bytes: what the store occupies on its disk or in its memory, where it can tell.
        details: what else the backend has to say, by name.
    """

    kinds: Mapping[RecordKind, KindStats] = field(factory=dict)
    stored_bytes: int | None = None
    details: Mapping[str, int | float | str] = field(factory=dict)


@frozen
class Target:
    """Where a store is, as its config says; for those who watch, so without secrets.

    Attributes:
        system: the database, by OpenTelemetry's names: `redis`, `postgresql`, `mysql`, `sqlite`.
        address: the host, the path of a socket or file, or several hosts with commas.
        port: of the host, where there is one.
        namespace: what the server divides its data by: database and schema, index.
    """

    system: str
    address: str | None = None
    port: int | None = None
    namespace: str | None = None

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        namespace = "" if self.namespace is None else f"/{self.namespace}"
        return f"{self.address or self.system}{port}{namespace}"


class Backend(ABC):
    """A store of key-values, key-sets and deferred messages.

    A backend is opened by its factory without touching the store; `setup()` follows before any
    other use. Every method may be called from any thread. After `close()` every method but
    `close()` raises `Closed`. A driver's exception never escapes: it becomes `Unavailable` when
    nothing was applied, `OutcomeUnknown` when a write was sent and its answer lost, or another
    error of `statekeep.errors`, with the driver's as its cause.

    Arguments are valid when they arrive (see `statekeep.validate`).
    """

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this backend, as configured, promises."""

    @property
    def target(self) -> Target:
        """Where the store is."""
        return Target("other")

    @abstractmethod
    def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries of these keys, absent and expired ones left out; one snapshot if declared."""

    def peek(self, keys: Sequence[str]) -> dict[str, Entry] | None:
        """What `get_many` would answer, where that takes no waiting; None: ask `get_many`.

        For event loops, which must not wait: a cache or a dict in this process may answer, what
        reads a file or a socket may not. A layer that changes what is read inherits this None.
        """
        return None

    def peek_members(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]] | None:
        """The same for `members_many`."""
        return None

    def start_get_many(self, keys: Sequence[str]) -> Pending[dict[str, Entry]] | None:
        """Sends a `get_many` whose answer is received later; None: call `get_many`.

        For event loops too, so it never waits: it takes a connection that is open and idle, or
        says None. Whatever it raises, nothing was asked, and `get_many` may be called. A layer
        that changes what is read inherits this None.
        """
        return None

    @abstractmethod
    def members_many(self, keys: Sequence[str]) -> dict[str, frozenset[bytes]]:
        """All members of these key-sets; every key asked for is in the answer."""

    @abstractmethod
    def members(self, key: str, *, limit: int, cursor: str | None) -> Page[bytes]:
        """A page of a key-set, in constant memory.

        A member that is present throughout the paging is returned at least once. Cursors are made
        with `statekeep.cursors`; one that is not from a page of this key is `InvalidArgument`.
        """

    @abstractmethod
    def contains(self, key: str, members: Sequence[bytes]) -> frozenset[bytes]:
        """Those of these members that the key-set holds."""

    @abstractmethod
    def claim(self, queue: str, *, limit: int, lease: timedelta) -> list[DeferredMessage]:
        """Takes up to `limit` messages that are due and not held, and hides them for `lease`.

        They come in the order in which they became claimable (their `visible` before the claim):
        earliest due first, and a message given back takes its place by the time that it came
        back, so that one that always fails cannot hold up the others. Each gets a new token, an
        `attempt` one higher, and `visible` set to the end of the lease. Two claims never hold
        the same message at once.
        """

    def messages_many(
        self, names: Sequence[tuple[str, str]]
    ) -> dict[tuple[str, str], DeferredMessage]:
        """The messages of these `(queue, id)`, absent ones left out. For tools, not for workers.

        This one scans for each of them; a backend that can ask for all at once overrides it.
        """
        found: dict[tuple[str, str], DeferredMessage] = {}
        for name in names:
            cursor = None
            while name not in found:
                page = self.scan(
                    RecordKind.DEFERRED, prefix="\0".join(name), limit=2, cursor=cursor
                )
                for message in page.items:
                    if isinstance(message, DeferredMessage) and message.name == name:
                        found[name] = message
                cursor = page.cursor
                if cursor is None:
                    break
        return found

    @abstractmethod
    def scan(
        self, kind: RecordKind, *, prefix: str, limit: int, cursor: str | None
    ) -> Page[Record]:
        """A page of all records of one kind, whose name begins with `prefix`.

        The name of a message is its queue, NUL, its id: so the prefix "timers" and a NUL is
        exactly the queue `timers`. A page may be shorter than `limit`, to bound its bytes. A
        record that is present throughout the scan is returned at least once, none twice in one
        page.
        """

    @abstractmethod
    def commit(self, transactions: Sequence[Transaction]) -> list[Outcome]:
        """Applies each transaction atomically by itself, in this order, and answers each.

        A conflict of one leaves the others alone. Raises where the whole call failed:
        `Unavailable` when nothing was applied, `OutcomeUnknown` when that cannot be told.
        """

    def start_commit(
        self, transactions: Sequence[Transaction]
    ) -> Pending[list[Outcome | None]] | None:
        """Sends a `commit` whose answer is received later; None: nothing was, call `commit`.

        As with `start_get_many`. In the answer None stands for a transaction of which nothing was
        applied, and which `commit` has to carry out. What is abandoned may have been applied.

        Raises:
            StorageError: what `commit` would raise. `OutcomeUnknown`: it was sent in part.
        """
        return None

    def missing(self) -> Sequence[str]:
        """What `setup()` would create, one phrase each; nothing is created."""
        return ()

    @abstractmethod
    def setup(self) -> None:
        """Creates what is missing; idempotent, and safe when several processes race."""

    @abstractmethod
    def ping(self) -> None:
        """Returns when the store answers; raises `Unavailable` or `AccessDenied` otherwise."""

    def usage(self) -> Usage:
        """What this process did and holds: the pool's numbers. Asks no store, and never waits.

        Every layer adds its own numbers to those of the backend inside.
        """
        return Usage()

    @abstractmethod
    def stats(self) -> BackendStats:
        """`usage()`, and records and bytes by kind; takes as long as counting them takes."""

    def examine(self) -> Iterable[Finding]:
        """What the store's settings, rights and tables say about its health; changes nothing.

        For `statekeep doctor`. What cannot be looked at, for want of a right, is a finding of
        severity `UNKNOWN`; only a store that does not answer is an error.
        """
        return ()

    @abstractmethod
    def purge(self) -> int:
        """Removes expired values and returns how many there were."""

    @abstractmethod
    def close(self) -> None:
        """Frees what was opened; may be called twice."""
