"""How a value that Infinitic stored is recognised as compressed, and unpacked within bounds."""

from __future__ import annotations

import bz2
import gzip
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from statekeep import Put, StorageConfig, Transaction, hookimpl
from statekeep.backend import Backend
from statekeep.compose import compose
from statekeep.compressor import GzipConfig
from statekeep.config import CompressionConfig, load
from statekeep.errors import CorruptValue, PluginError
from statekeep.hookspecs import BackendPlugin
from statekeep.infinitic import decompress, is_compressed
from statekeep.registry import Registry
from statekeep_sqlite import SqliteConfig
from statekeep_sqlite.backend import SqliteBackend

MIB = 2**20
PACKED = {"gzip": gzip.compress, "bzip2": bz2.compress, "deflate": zlib.compress}


@given(st.binary())
def test_what_was_compressed_comes_back(value: bytes) -> None:
    """By any of the three, whatever it is."""
    for compress in PACKED.values():
        packed = compress(value)
        assert is_compressed(packed) and decompress(packed, len(value) + 1) == value


@given(st.binary().filter(lambda value: not is_compressed(value)))
def test_what_was_not_stays_as_it_is(value: bytes) -> None:
    """Also where it is longer than the limit: the caller decides about that."""
    assert decompress(value, 1) == value


def test_the_first_bytes_tell() -> None:
    """As commons-compress tells them; deflate takes four bytes at least."""
    for stored in (b"\x1f\x8b", b"BZh", b"BZh9x", *(b"\x78%c12" % c for c in b"\x01\x5e\x9c\xda")):
        assert is_compressed(stored)
    for stored in (b"", b"\x1f", b"BZ", b"\x78\x9c1", b"\x78\x9d12", b"\xc3\x01\x1f\x8b", b"\x78"):
        assert not is_compressed(stored)


@pytest.mark.parametrize("name", PACKED)
def test_unpacking_is_bounded(name: str) -> None:
    """Not more than the limit is made of few bytes."""
    packed = PACKED[name](bytes(4 * MIB))
    assert len(decompress(packed, 1000)) == 1000


@pytest.mark.parametrize("name", PACKED)
def test_damage_is_found(name: str) -> None:
    """Cut off anywhere, with a bit turned in its check, or with more behind it."""
    packed = PACKED[name](b"state " * 50)
    damaged = [packed[:size] for size in range(4, len(packed))]
    damaged += [packed + b"x", packed + packed]
    for each in damaged:
        with pytest.raises(CorruptValue):
            decompress(each, MIB)
    turned = packed[:-6] + bytes((packed[-6] ^ 1,)) + packed[-5:]
    with pytest.raises(CorruptValue):
        decompress(turned if name == "gzip" else packed[:-1] + bytes((packed[-1] ^ 255,)), MIB)


@frozen(kw_only=True)
class RawConfig:
    """No options."""


def filled(path: Path, config: RawConfig) -> Backend:
    """A store in which a value is as another program wrote it."""
    backend = SqliteBackend(SqliteConfig(path=str(path)))
    backend.setup()
    backend.commit([Transaction((Put("key", b"as it is"),))])
    return backend


@pytest.mark.parametrize("compression", [None, CompressionConfig(compressor=GzipConfig())])
def test_a_plugin_says_whether_there_are_envelopes(
    tmp_path: Path, compression: CompressionConfig | None
) -> None:
    """Where it says no, none is looked for, whatever the config says about compression."""
    for envelopes in (False, True):
        offer = BackendPlugin(
            name="raw",
            config=RawConfig,
            factory=partial(filled, tmp_path / "s.db"),
            envelopes=envelopes,
        )
        plugin = SimpleNamespace(statekeep_backends=hookimpl(lambda offer=offer: [offer]))
        registry = Registry()
        registry.register(plugin, "a test")
        with compose(
            StorageConfig(backend=RawConfig(), compression=compression), registry
        ) as found:
            if envelopes:
                with pytest.raises(CorruptValue, match="no statekeep envelope"):
                    found.values.get("key")
            else:
                entry = found.values.get("key")
                assert entry is not None and entry.value == b"as it is"


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "mysql", "mariadb", "redis", "rediss"]
)
def test_the_schemes_of_urls(scheme: str) -> None:
    """A plus in a scheme is an underscore in the backend's name."""
    backend = load(f"infinitic+{scheme}://user@host:7/1").backend
    assert type(backend).__name__.startswith("Infinitic")
    assert (backend.host, backend.port, str(backend.database)) == ("host", 7, "1")
    assert getattr(backend, "ssl", False) == (scheme == "rediss")


def test_a_source_that_is_not_installed() -> None:
    """The error says what to install."""
    with pytest.raises(PluginError, match="pip install statekeep-postgres"):
        load("infinitic+postgres://user@host/db", registry=Registry(installed=()))


POSTGRES = """
storage:
  infinitic_postgres:
    host: db.internal
    port: 5432
    username: reader
    password: secret
    database: postgres
    schema: infinitic
    keySetTable: key_set_storage
    keyValueTable: key_value_storage
    maximumPoolSize: 5
    minimumIdle: 1
    idleTimeout: 600000
    connectionTimeout: 30000
    maxLifetime: 1800000
  compression: gzip
  cache:
    keyValue:
      maximumSize: 1000
"""

REDIS = """
storage:
  infinitic_redis:
    host: redis.internal
    port: 6379
    timeout: 2000
    ssl: true
    poolConfig:
      maxTotal: -1
      maxIdle: 8
      minIdle: 0
  compression: bzip2
"""


def test_infinitics_own_config_file(tmp_path: Path) -> None:
    """Its names and sections stand as they are; only the table says that it is Infinitic's."""
    file = tmp_path / "infinitic.yml"
    file.write_text(POSTGRES)
    found = load(file).backend
    assert (found.host, found.schema, found.maximum_pool_size) == ("db.internal", "infinitic", 5)
    assert "secret" not in repr(found)
    file.write_text(REDIS)
    found = load(file).backend
    assert (found.host, found.ssl, found.prefix) == ("redis.internal", True, "")
