"""Values: bytes of any content, up to the limit that the backend states."""

from __future__ import annotations

import bz2
import gzip
import random
import zlib
from typing import Any

import pytest

from statekeep.backend import MIB, Backend
from statekeep.errors import InvalidArgument
from statekeep.storage import Storage
from statekeep.testing.support import HOUR, PAST, Counting, Kit, heavy

MOST_TRIED = 256 * MIB
"""A stated limit above this is taken on trust: a test should not need gigabytes."""

CONTENTS = {
    "empty": b"",
    "one_nul": b"\0",
    "trailing_nul": b"value\0\0",
    "trailing_blanks": b"value  ",
    "blanks": b"   ",
    "newline": b"\r\n",
    "every_byte": bytes(range(256)) * 5,
    "not_utf8": b"\xff\xfe\xfa caf\xe9",
    "byte_order_mark": b"\xef\xbb\xbftext",
    "json_null": b"null",
    "number": b"0012",
    "hex": b"\\x6869",
    "base64": b"aGVsbG8=",
    "quotes": b"it's \"x\" \\' ;--",
    "envelope_magic": b"\xd5\x4b",
    "envelope_like": b"\xd5\x4b\x01\x00\x00\x00\x00\x05hello",
    "gzip_magic": b"\x1f\x8b\x08",
    "gzip": gzip.compress(b"hello " * 100),
    "bzip2": bz2.compress(b"hello " * 100),
    "deflate": zlib.compress(b"hello " * 100),
    "lz4_magic": b"\x04\x22\x4d\x18rest",
    "zstd_magic": b"\x28\xb5\x2f\xfdrest",
    "pickle": b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01.",
    "compressible": b"a" * 100_000,
}

NOT_BYTES: dict[str, Any] = {
    "str": "text",
    "none": None,
    "bytearray": bytearray(b"x"),
    "memoryview": memoryview(b"x"),
    "int": 5,
}


class ValuesTests(Kit):
    """Section 3.2 of the contract."""

    @pytest.mark.parametrize("name", CONTENTS)
    def test_values_come_back_as_they_were_put(
        self, storage: Storage, prefix: str, name: str
    ) -> None:
        """Whatever the bytes look like, get, get_many and scan return exactly them."""
        key, value = prefix + "value", CONTENTS[name]
        version = storage.values.put(key, value)
        entry = storage.values.get(key)
        assert entry is not None and type(entry.value) is bytes
        assert (entry.value, entry.version, entry.expires) == (value, version, None)
        assert storage.values.get_many([key]) == {key: entry}
        assert list(storage.values.scan(prefix)) == [(key, entry)]

    @pytest.mark.parametrize("name", CONTENTS)
    def test_values_as_payloads_come_back_as_they_were_put(
        self, storage: Storage, prefix: str, name: str
    ) -> None:
        """A message's payload is kept byte by byte as well."""
        queue, payload = prefix + "queue", CONTENTS[name]
        storage.deferred.schedule(queue, "id", due=PAST, payload=payload)
        assert [message.payload for message in storage.deferred.scan(queue)] == [payload]
        assert [message.payload for message in storage.deferred.claim(queue)] == [payload]

    def test_values_empty_and_absent_are_not_the_same(self, storage: Storage, prefix: str) -> None:
        """An empty value is there: it has a version, conflicts with expected=0 and is deleted."""
        key = prefix + "empty"
        version = storage.values.put(key, b"", expected=0)
        entry = storage.values.get(key)
        assert entry is not None and entry.value == b"" and entry.version == version
        assert storage.values.put(key, b"", expected=version) == version + 1
        assert storage.values.delete(key)
        assert storage.values.get(key) is None

    def test_values_are_replaced_whole(self, storage: Storage, prefix: str) -> None:
        """A shorter value leaves nothing of the longer one."""
        key = prefix + "value"
        for value in (b"long " * 1000, b"short", b"", b"x"):
            storage.values.put(key, value)
            entry = storage.values.get(key)
            assert entry is not None and entry.value == value

    def test_values_of_4_mib_are_kept(self, storage: Storage, prefix: str) -> None:
        """4 MiB that do not compress: what every backend holds."""
        key, value = prefix + "large", random.Random(4).randbytes(4 * MIB)
        storage.values.put(key, value)
        entry = storage.values.get(key)
        assert entry is not None and entry.value == value
        storage.values.delete(key)

    @heavy
    def test_values_of_exactly_the_limit_are_kept(self, storage: Storage, prefix: str) -> None:
        """The stated limit is true, for values and for payloads."""
        limit = storage.capabilities.max_value_bytes
        if limit > MOST_TRIED:
            pytest.skip(f"max_value_bytes is {limit}: more than the kit tries")
        block = random.Random(64).randbytes(MIB)
        value = (block * (limit // MIB + 1))[:limit]
        storage.values.put(prefix + "largest", value)
        entry = storage.values.get(prefix + "largest")
        assert entry is not None and len(entry.value) == limit
        assert entry.value == value
        storage.values.delete(prefix + "largest")
        storage.deferred.schedule(prefix + "queue", "id", due=PAST, payload=value)
        (message,) = storage.deferred.claim(prefix + "queue")
        assert message.payload == value
        storage.deferred.acknowledge(message)

    def test_values_over_the_limit_are_refused_unsent(self, backend: Backend, prefix: str) -> None:
        """One byte over the stated limit is InvalidArgument, and nothing reaches the backend."""
        counting = Counting(backend)
        storage, large = Storage(counting), bytes(backend.capabilities.max_value_bytes + 1)
        with pytest.raises(InvalidArgument):
            storage.values.put(prefix + "key", large)
        with pytest.raises(InvalidArgument):
            storage.deferred.schedule(prefix + "queue", "id", due=HOUR, payload=large)
        with pytest.raises(InvalidArgument), storage.transaction() as tx:
            tx.put(prefix + "small", b"small")
            tx.put(prefix + "large", large)
        assert counting.commits == 0
        assert storage.values.get_many([prefix + "small", prefix + "large"]) == {}

    def test_values_limit_is_at_least_4_mib(self, backend: Backend) -> None:
        """No backend may state less."""
        assert backend.capabilities.max_value_bytes >= 4 * MIB

    @pytest.mark.parametrize("name", NOT_BYTES)
    def test_values_must_be_bytes(self, storage: Storage, prefix: str, name: str) -> None:
        """Anything else is InvalidArgument, never converted."""
        with pytest.raises(InvalidArgument):
            storage.values.put(prefix + "key", NOT_BYTES[name])
        with pytest.raises(InvalidArgument):
            storage.deferred.schedule(prefix + "q", "id", due=HOUR, payload=NOT_BYTES[name])
        assert storage.values.get(prefix + "key") is None

    def test_values_deleted_are_absent(self, storage: Storage, prefix: str) -> None:
        """Delete says whether something was there; what is absent is no error."""
        key = prefix + "key"
        assert storage.values.delete(key) is False
        storage.values.put(key, b"value")
        assert storage.values.delete(key) is True
        assert storage.values.get(key) is None
        assert storage.values.get_many([key]) == {}
        assert list(storage.values.scan(prefix)) == []
        assert storage.values.delete(key) is False

    def test_values_update_creates_changes_and_deletes(self, storage: Storage, prefix: str) -> None:
        """The function gets what is there, None for nothing, and its answer is written."""
        key = prefix + "key"
        created = storage.values.update(key, lambda value: b"1" if value is None else b"?")
        assert created == storage.values.get(key)
        changed = storage.values.update(key, lambda value: (value or b"?") + b"2")
        assert changed is not None and changed == storage.values.get(key)
        assert changed.value == b"12"
        assert storage.values.update(key, lambda value: None) is None
        assert storage.values.get(key) is None
