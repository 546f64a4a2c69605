"""`storage.values`: versioned key-values."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta

from statekeep import validate
from statekeep.errors import VersionConflict
from statekeep.metrics import Recorder
from statekeep.model import Committed, Delete, Entry, KeyValueRecord, Operation, Put, RecordKind
from statekeep.session import Session

UPDATE_ATTEMPTS = 100
"""How often `update` tries: enough for dozens of writers that hammer on one key."""

BACKOFF = 0.001, 0.1
"""The first and the longest wait of `update` between two tries, in seconds, before jitter."""


class KeyValues:
    """Values by key, each with a version that no other write of the key ever has."""

    __slots__ = ("_get_many", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._get_many = session.backend.get_many

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None where it is absent or expired.

        Raises:
            CorruptValue: the stored bytes are damaged.
        """
        return self._get_many((validate.key(key),)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The entries of several keys, absent ones left out; one snapshot where the store can."""
        return self._get_many(validate.keys(keys))

    def put(
        self,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        ttl: timedelta | None = None,
    ) -> int:
        """Writes a value and returns its new version.

        Args:
            key: 1 to 1024 bytes of UTF-8.
            value: at most `capabilities.max_value_bytes`.
            expected: None: whatever is there; 0: the key must be absent; else its current version.
            ttl: how long the value lives; None for ever, whatever an earlier put said.

        Raises:
            VersionConflict: the key is not at `expected`; nothing was written.
        """
        return self._session.commit((Put(key, value, expected, ttl),)).versions[key]

    def put_many(self, mapping: Mapping[str, bytes]) -> dict[str, int]:
        """Writes several values, all or none, and returns their new versions."""
        return dict(self._session.commit(Put(*item) for item in mapping.items()).versions)

    def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Removes a value; returns whether it was there.

        Raises:
            VersionConflict: the key is not at `expected`; nothing was removed.
        """
        return key in self._session.commit((Delete(key, expected),)).deleted

    def update(
        self,
        key: str,
        function: Callable[[bytes | None], bytes | None],
        *,
        ttl: timedelta | None = None,
        attempts: int = UPDATE_ATTEMPTS,
    ) -> Entry | None:
        """Reads, changes and writes a value; begins again when another writer came between.

        Args:
            key: the key to change.
            function: gets the value, None where there is none, and returns the new one, or None
                to delete it. It may be called several times, so it must have no other effects.
            ttl: as with `put`: None lets the new value live for ever.
            attempts: how often to try.

        Returns:
            The entry written (`expires` as the store has it is left out), or None where the
            function returned None.

        Raises:
            VersionConflict: another writer came first at every attempt.
        """
        update = Update(key, ttl, attempts, self._session.recorder)
        while True:
            seen = self.get(key)
            changed = function(None if seen is None else seen.value)
            try:
                return update.entry(changed, self._session.commit(update.writes(seen, changed)))
            except VersionConflict as conflict:
                time.sleep(update.pause(conflict))

    def scan(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """All keys that begin with `prefix`, with their entries, in constant memory."""
        for record in self._session.scan(RecordKind.KEY_VALUE, validate.prefix(prefix)):
            assert isinstance(record, KeyValueRecord)
            yield record.key, record.entry


class Update:
    """What `update` does between its calls: what to write, what came of it, whether to go on."""

    def __init__(self, key: str, ttl: timedelta | None, attempts: int, recorder: Recorder) -> None:
        self._recorder = recorder
        self._key = key
        self._ttl = ttl
        self._attempts = validate.limit(attempts, name="attempts")
        self._attempt = 1

    def writes(self, seen: Entry | None, changed: bytes | None) -> tuple[Operation, ...]:
        """What turns the entry seen into the changed value; nothing where both are absent."""
        if changed is not None:
            return (Put(self._key, changed, seen.version if seen else 0, self._ttl),)
        return () if seen is None else (Delete(self._key, seen.version),)

    def entry(self, changed: bytes | None, committed: Committed) -> Entry | None:
        """The entry written."""
        return None if changed is None else Entry(changed, committed.versions[self._key])

    def pause(self, conflict: VersionConflict) -> float:
        """Seconds to wait before the next attempt; raises the conflict after the last one."""
        if self._attempt == self._attempts:
            raise conflict
        first, longest = BACKOFF
        most = min(first * 2.0 ** min(self._attempt, 20), longest)
        self._attempt += 1
        self._recorder.retried()
        return random.random() * most
