"""`storage.values`: versioned key-values."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta

from statekeep import validate
from statekeep.errors import InvalidArgument, VersionConflict
from statekeep.model import Delete, Entry, KeyValueRecord, Put, RecordKind
from statekeep.session import PAGE, Session

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
        return self._get_many(_keys(keys))

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
        if not mapping:
            return {}
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
        for attempt in range(1, validate.limit(attempts, name="attempts") + 1):
            entry = self.get(key)
            changed = function(entry.value if entry else None)
            try:
                return self._replace(key, entry, changed, ttl)
            except VersionConflict:
                if attempt == attempts:
                    raise
                first, longest = BACKOFF
                time.sleep(random.random() * min(first * 2 ** min(attempt, 20), longest))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def scan(self, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """All keys that begin with `prefix`, with their entries, in constant memory."""
        cursor, prefix = None, validate.prefix(prefix)
        while True:
            page = self._session.backend.scan(
                RecordKind.KEY_VALUE, prefix=prefix, limit=PAGE, cursor=cursor
            )
            for record in page.items:
                assert isinstance(record, KeyValueRecord)
                yield record.key, record.entry
            cursor = page.cursor
            if cursor is None:
                return

    def _replace(
        self, key: str, entry: Entry | None, value: bytes | None, ttl: timedelta | None
    ) -> Entry | None:
        version = entry.version if entry else 0
        if value is None:
            if entry is not None:
                self.delete(key, expected=version)
            return None
        return Entry(value, self.put(key, value, expected=version, ttl=ttl))


def _keys(keys: Iterable[str]) -> tuple[str, ...]:
    if isinstance(keys, str):
        raise InvalidArgument("keys must be several keys, not one str")
    return tuple(dict.fromkeys(validate.key(key) for key in keys))
