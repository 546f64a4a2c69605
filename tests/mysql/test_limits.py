"""What is large: refused before it is sent, or sent in several packets; never cut."""

from __future__ import annotations

import os

import pytest
from statekeep import Committed, Delete, InvalidArgument, Put, Transaction
from statekeep.backend import LARGE_VALUE_BYTES

from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.mysql.test_access import raw
from tests.servers.mysql import FAST, MysqlProcess
from tests.servers.proxy import Proxy

MIB = 2**20


@pytest.mark.parametrize(
    ("packet", "most"),
    [("16M", 8 * MIB - 2**15), ("64M", 32 * MIB - 2**15), ("1G", LARGE_VALUE_BYTES)],
)
def test_the_largest_value_is_what_the_server_takes(opened: Open, packet: str, most: int) -> None:
    """max_allowed_packet, asked of the server; one byte more is refused with its number."""
    with (
        MysqlProcess({**FAST, "max_allowed_packet": packet}) as server,
        Proxy(server.address) as proxy,
    ):
        options = {**APP, "host": "127.0.0.1", "port": proxy.port, "ssl_mode": "disabled"}
        backend = raw(opened(**options, maximum_pool_size=1))
        assert backend.capabilities.max_value_bytes == most
        value = os.urandom(1000) * (most // 1000 + 1)
        before = proxy.requests
        (outcome,) = backend.commit([Transaction((Put("k" * 1024, value[: most + 1]),))])
        assert isinstance(outcome.error, InvalidArgument)
        assert "max_allowed_packet" in str(outcome.error)
        assert proxy.requests == before
        (outcome,) = backend.commit([Transaction((Put("k" * 1024, value[:most], 0),))])
        assert isinstance(outcome, Committed)
        version = outcome.versions["k" * 1024]
        (outcome,) = backend.commit([Transaction((Put("k" * 1024, value[:most], version),))])
        assert isinstance(outcome, Committed)
        assert backend.get_many(["k" * 1024])["k" * 1024].value == value[:most]


def test_a_transaction_larger_than_a_packet_is_atomic_still(
    opened: Open, server: MysqlProcess, prefix: str
) -> None:
    """Five values of 4 MiB and a server that takes 16 MiB: several packets, one transaction."""
    backend = raw(opened(server))
    values = {f"{prefix}{n}": os.urandom(1000) * 4194 for n in range(5)}
    puts = tuple(Put(key, value, 0) for key, value in values.items())
    (outcome,) = backend.commit([Transaction(puts)])
    assert isinstance(outcome, Committed)
    for key, value in values.items():
        assert backend.get_many([key])[key].value == value
    changed = tuple(Put(key, b"changed" + value) for key, value in values.items())
    failing = Put(prefix + "new", b"x", 5)
    (outcome,) = backend.commit([Transaction((*changed, failing))])
    assert outcome.current == {prefix + "new": 0}
    assert all(backend.get_many([key])[key].value == value for key, value in values.items())


def test_ten_thousand_keys_in_one_call(opened: Open, server: MysqlProcess, prefix: str) -> None:
    """Long keys: more than a packet holds of them, read and written as one."""
    backend = raw(opened(server))
    keys = [f"{prefix}{n:06}".ljust(1000, "x") for n in range(10_000)]
    (outcome,) = backend.commit([Transaction(tuple(Put(key, b"v", 0) for key in keys))])
    assert len(outcome.versions) == len(keys)
    assert set(backend.get_many(keys)) == set(keys)
    (outcome,) = backend.commit([Transaction(tuple(Delete(key) for key in keys))])
    assert outcome.deleted == set(keys)
    assert backend.get_many(keys) == {}


def test_keys_are_bytes(opened: Open, server: MysqlProcess, prefix: str) -> None:
    """Case, accents, trailing blanks, zero-width and four-byte characters make other keys."""
    storage = opened(server)
    names = ["Key", "key", "key ", "key  ", "kéy", "key\u200b", "k\U0001f600", "k\U0001f601", "ß",
             "ss", "KEY\t", "key'", 'key"', "key\\", "key`", "key%", "key_"]  # fmt: skip
    for number, name in enumerate(names):
        storage.values.put(prefix + name, b"%d" % number, expected=0)
        storage.sets.add(prefix + "set", name.encode())
    for number, name in enumerate(names):
        entry = storage.values.get(prefix + name)
        assert entry is not None and entry.value == b"%d" % number
    assert len(storage.sets.members(prefix + "set")) == len(names)
    assert [key for key, _ in storage.values.scan(prefix)] == sorted(prefix + n for n in names)
