"""Keys: any text of 1 to 1024 bytes, compared byte by byte, in three separate namespaces."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from statekeep.errors import InvalidArgument
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Kit

EXOTIC = {
    "accent": "café",
    "cjk": "注文/東京",
    "right_to_left": "מפתח",
    "emoji": "👩\u200d🚀 \U0001f3f4",
    "last_code_point": "\U0010ffff",
    "private_use": "\ue000\uf8ff",
    "quotes": 'it\'s "quoted" `so`',
    "sql": "'; DROP TABLE key_value_storage; --",
    "like": "100%_done\\",
    "glob": "* ? [a] [!a] [^a-z]",
    "braces": "{braces}{}}{",
    "format": "${HOME} %(name)s %s {0} :name ?1 $1",
    "path": "../..//etc/./passwd",
    "lines": "a\nb\r\nc\td",
    "control": "\x01\x1b[0m\x7f",
    "redis": "a:b|c,d;e\r\n$3\r\nGET",
}

LOOK_ALIKES = (
    "Key", "key", "KEY", "key ", " key", "key\t", "key\n", "key.", "key\u00a0", "key\u200b", "kéy",
    "ke\u0301y", "k\u00eay", "stra\u00dfe", "strasse", "\u0131", "i", "I", "\u0130", "\ufb01", "fi",
    "\uff21", "A", "a",     "10", "010", "1e1", "10.0", "null", "None", "true",
)  # fmt: skip

LONGEST = {"ascii": "k", "two_bytes": "é", "three_bytes": "語", "four_bytes": "🚀"}

REFUSED: dict[str, Any] = {
    "empty": "",
    "nul": "a\0b",
    "only_nul": "\0",
    "surrogate": "a\ud800b",
    "too_long": "k" * 1025,
    "too_long_in_bytes": "é" * 513,
    "bytes": b"key",
    "number": 7,
    "none": None,
}

USES: dict[str, Callable[[Storage, Any], object]] = {
    "values_get": lambda storage, key: storage.values.get(key),
    "values_get_many": lambda storage, key: storage.values.get_many(["fine", key]),
    "values_put": lambda storage, key: storage.values.put(key, b""),
    "values_delete": lambda storage, key: storage.values.delete(key),
    "sets_members": lambda storage, key: storage.sets.members(key),
    "sets_page": lambda storage, key: storage.sets.page(key, limit=1),
    "sets_add": lambda storage, key: storage.sets.add(key, b"member"),
    "sets_contains": lambda storage, key: storage.sets.contains(key, b"member"),
    "deferred_queue": lambda storage, key: storage.deferred.schedule(key, "id", due=HOUR),
    "deferred_id": lambda storage, key: storage.deferred.schedule("queue", key, due=HOUR),
    "deferred_claim": lambda storage, key: storage.deferred.claim(key),
    "deferred_scan": lambda storage, key: list(storage.deferred.scan(key)),
    "cancel": lambda storage, key: storage.deferred.cancel("queue", key),
}


def padded(prefix: str, filler: str, size: int = 1024) -> str:
    """A key of exactly `size` bytes that begins with the prefix and is filled up."""
    room = size - len(prefix.encode())
    times, rest = divmod(room, len(filler.encode()))
    return prefix + "x" * rest + filler * times


class KeysTests(Kit):
    """Section 3.1 of the contract."""

    @pytest.mark.parametrize("name", EXOTIC)
    def test_keys_of_values_hold_any_text(self, storage: Storage, prefix: str, name: str) -> None:
        """A value is found under exactly the text it was put under, and listed under it."""
        key = prefix + EXOTIC[name]
        version = storage.values.put(key, b"value")
        entry = storage.values.get(key)
        assert entry is not None and (entry.value, entry.version) == (b"value", version)
        assert [found for found, _ in storage.values.scan(prefix)] == [key]
        assert storage.values.delete(key) and storage.values.get(key) is None

    @pytest.mark.parametrize("name", EXOTIC)
    def test_keys_of_sets_hold_any_text(self, storage: Storage, prefix: str, name: str) -> None:
        """A set is found under exactly the text it was made under, and listed under it."""
        key = prefix + EXOTIC[name]
        storage.sets.add(key, b"member")
        assert storage.sets.members(key) == {b"member"}
        assert list(storage.sets.scan(prefix)) == [key]
        assert next(storage.sets.pages(key)).items == (b"member",)

    @pytest.mark.parametrize("name", EXOTIC)
    def test_keys_of_queues_and_ids_hold_any_text(
        self, storage: Storage, prefix: str, name: str
    ) -> None:
        """A message keeps its queue and id, whatever text they are."""
        queue, id = prefix + EXOTIC[name], EXOTIC[name]
        storage.deferred.schedule(queue, id, due=PAST)
        assert [message.name for message in storage.deferred.scan(queue)] == [(queue, id)]
        (message,) = storage.deferred.claim(queue, lease=HOUR)
        assert message.name == (queue, id)
        storage.deferred.acknowledge(message)
        assert list(storage.deferred.scan(queue)) == []

    def test_keys_of_values_that_look_alike_differ(self, storage: Storage, prefix: str) -> None:
        """Case, blanks, accents, normal forms and number forms make different keys."""
        keys = [prefix + look for look in LOOK_ALIKES]
        for key in keys:
            storage.values.put(key, key.encode(), expected=0)
        entries = storage.values.get_many(keys)
        assert {key: entry.value.decode() for key, entry in entries.items()} == {
            key: key for key in keys
        }
        assert storage.values.delete(keys[0])
        assert len(list(storage.values.scan(prefix))) == len(keys) - 1

    def test_keys_of_sets_that_look_alike_differ(self, storage: Storage, prefix: str) -> None:
        """Two texts that any collation might take for one name two sets."""
        keys = [prefix + look for look in LOOK_ALIKES]
        for key in keys:
            storage.sets.add(key, key.encode())
        assert storage.sets.members_many(keys) == {key: {key.encode()} for key in keys}
        assert sorted(storage.sets.scan(prefix)) == sorted(keys)

    def test_keys_of_messages_that_look_alike_differ(self, storage: Storage, prefix: str) -> None:
        """Neither queues nor ids are folded together."""
        for look in LOOK_ALIKES:
            storage.deferred.schedule(prefix + look, "one", due=PAST)
            storage.deferred.schedule(prefix + "queue", look, due=PAST)
        claimed = storage.deferred.claim(prefix + "queue", limit=100, lease=HOUR)
        assert sorted(message.id for message in claimed) == sorted(LOOK_ALIKES)
        for look in LOOK_ALIKES:
            (message,) = storage.deferred.claim(prefix + look, limit=10, lease=HOUR)
            assert message.name == (prefix + look, "one")

    @pytest.mark.parametrize("name", LONGEST)
    def test_keys_of_1024_bytes_are_kept_whole(
        self, storage: Storage, prefix: str, name: str
    ) -> None:
        """Two keys of 1024 bytes that differ in the last character alone are two keys."""
        long = padded(prefix, LONGEST[name])
        twin = padded(prefix, "k", 1024 - len(LONGEST[name].encode())) + LONGEST[name]
        twin = long[:-1] + "z" * len(LONGEST[name].encode()) if twin == long else twin
        assert len(long.encode()) == len(twin.encode()) == 1024 and long != twin
        storage.values.put_many({long: b"long", twin: b"twin"})
        storage.sets.update(add={long: [b"long"], twin: [b"twin"]})
        assert {key: entry.value for key, entry in storage.values.scan(prefix)} == {
            long: b"long",
            twin: b"twin",
        }
        assert storage.sets.members_many([long, twin]) == {long: {b"long"}, twin: {b"twin"}}
        assert set(storage.sets.scan(prefix)) == {long, twin}

    @pytest.mark.parametrize("name", LONGEST)
    def test_keys_of_messages_of_1024_bytes_are_kept_whole(
        self, storage: Storage, prefix: str, name: str
    ) -> None:
        """Queue and id may both be as long as a key may be."""
        queue, filler = padded(prefix, LONGEST[name]), LONGEST[name]
        ids = {padded("a", filler), padded("b", filler), padded("", "k", 1023) + "y"}
        for id in ids:
            storage.deferred.schedule(queue, id, due=PAST)
        claimed = storage.deferred.claim(queue, limit=10, lease=timedelta(hours=1))
        assert {message.id for message in claimed} == ids
        assert {message.name for message in storage.deferred.scan(queue)} == {
            (queue, id) for id in ids
        }

    @pytest.mark.parametrize("use", USES)
    @pytest.mark.parametrize("name", REFUSED)
    def test_keys_that_break_the_contract_are_refused(
        self, storage: Storage, name: str, use: str
    ) -> None:
        """Empty, over 1024 bytes, with NUL, no Unicode, no text: InvalidArgument everywhere."""
        with pytest.raises(InvalidArgument):
            USES[use](storage, REFUSED[name])

    def test_keys_of_the_three_kinds_never_meet(self, storage: Storage, prefix: str) -> None:
        """A value, a set and a queue of one name live side by side, and go one by one."""
        key = prefix + "same"
        storage.sets.add(key, b"member")
        assert storage.values.get(key) is None
        storage.values.put(key, b"value", expected=0)
        storage.deferred.schedule(key, key, due=HOUR)
        assert storage.sets.members(key) == {b"member"}
        assert [found for found, _ in storage.values.scan(prefix)] == [key]
        assert list(storage.sets.scan(prefix)) == [key]
        assert storage.values.delete(key)
        assert storage.sets.members(key) == {b"member"}
        assert [message.id for message in storage.deferred.scan(key)] == [key]
        storage.sets.remove(key, b"member")
        storage.values.put(key, b"again", expected=0)
        assert storage.deferred.cancel(key, key)
        entry = storage.values.get(key)
        assert entry is not None and entry.value == b"again"
