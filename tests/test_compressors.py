"""Every compressor: what one config wrote, every other reads; hostile input is refused, bounded."""

from __future__ import annotations

import random
import struct
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import statekeep
from statekeep import CorruptValue, PluginError, envelope
from statekeep.compose import compose
from statekeep.compressor import Compressor, Trainable
from statekeep.config import load
from statekeep.registry import Registry, default_registry

LIMIT = 64 * 2**20
NAMES = ("gzip", "deflate", "bzip2", "lz4", "zstd")
VALUES = {
    "empty": b"",
    "one": b"x",
    "small": b'{"order": 42, "status": "paid", "lines": [1, 1, 1, 1, 1]}' * 4,
    "noise": bytes(range(256)) * 2,
    "large": b'{"event": "TaskCompleted", "attempt": 1}' * 10_000,
}
CONFIGS: dict[str, Any] = {
    "off": "none",
    "gzip-1": {"name": "gzip", "level": 1},
    "gzip-6": "gzip",
    "gzip-9": {"name": "gzip", "level": 9, "min_size": 0},
    "deflate-1": {"name": "deflate", "level": 1},
    "deflate-9": {"name": "deflate", "level": 9},
    "bzip2": "bzip2",
    "lz4-fast": {"name": "lz4", "level": -8},
    "lz4": {"name": "lz4", "min_size": 0},
    "lz4-small": {"name": "lz4", "level": 12},
    "zstd-fast": {"name": "zstd", "level": -5},
    "zstd": {"name": "zstd", "min_size": 0},
    "zstd-19": {"name": "zstd", "level": 19},
    "zstd-dictionary": {"name": "zstd", "dictionaries": ["one.dict", "two.dict"]},
    "zstd-new-dictionary": {"name": "zstd", "dictionaries": ["two.dict", "one.dict"]},
}


def states(seed: int, count: int = 400) -> list[bytes]:
    return [
        b'{"seed": %d, "order": %d, "status": "paid", "customer": "c%d"}' % (seed, n, n * 7 % 31)
        for n in range(count)
    ]


def made(name: str, **options: Any) -> Compressor:
    plugin = default_registry().compressor(name)
    return plugin.factory(plugin.config(**options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compressors")
    trainer = made("zstd")
    assert isinstance(trainer, Trainable)
    for name, seed in (("one", 1), ("two", 2)):
        (folder / f"{name}.dict").write_bytes(trainer.train(states(seed), 2048).content)
    return folder


def with_readers(options: Any, folder: Path) -> Any:
    """The same config, able to read what zstd wrote with a dictionary."""
    wanted = {"name": options} if isinstance(options, str) else dict(options)
    files = [str(folder / each) for each in ("two.dict", "one.dict")]
    if wanted["name"] != "zstd":
        return wanted | {"readers": {"zstd": {"dictionaries": files}}}
    if "dictionaries" not in wanted:
        return wanted | {"dictionaries": files, "write_with_dictionary": False}
    return wanted | {"dictionaries": [str(folder / each) for each in wanted["dictionaries"]]}


@pytest.fixture(scope="module")
def written(folder: Path) -> Iterator[Mapping[str, Path]]:
    """One SQLite file for each config, with every value in it."""
    found: dict[str, Path] = {}
    for name, options in CONFIGS.items():
        found[name] = folder / f"{name}.db"
        compression = with_readers(options, folder)
        with statekeep.open(
            {"sqlite": {"path": str(found[name])}, "compression": compression}
        ) as s:
            s.values.put_many(VALUES)
            s.values.put("state", states(1)[7])
    return found


@pytest.mark.parametrize(("writer", "reader"), list(product(CONFIGS, CONFIGS)))
def test_what_one_config_wrote_every_other_reads(
    writer: str, reader: str, written: Mapping[str, Path], folder: Path
) -> None:
    """Changing the compressor, its level or its dictionary, or turning it off, loses nothing."""
    compression = with_readers(CONFIGS[reader], folder)
    source = {"sqlite": {"path": str(written[writer])}, "compression": compression}
    with statekeep.open(source) as storage:
        for key, value in VALUES.items():
            entry = storage.values.get(key)
            assert entry is not None
            assert entry.value == value
        entry = storage.values.get("state")
        assert entry is not None
        assert entry.value == states(1)[7]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", VALUES)
def test_a_compressor_restores_what_it_made(name: str, what: str) -> None:
    """Of any length and content."""
    compressor, value = made(name), VALUES[what]
    assert compressor.decompress(compressor.compress(value), len(value)) == value


@pytest.mark.parametrize("name", NAMES)
def test_a_compressor_is_called_from_many_threads(name: str) -> None:
    """One object serves all of them at once."""
    compressor = made(name)
    failures: list[str] = []

    def work(number: int) -> None:
        value = b"%d," % number * 3_000
        restored = (
            compressor.decompress(compressor.compress(value), len(value)) for _ in range(50)
        )
        failures.extend(str(number) for each in restored if each != value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def stored_by(name: str) -> bytes:
    return envelope.wrap_compressed("k", VALUES["small"], envelope.prefix(name), made(name))


def unwrap(stored: bytes) -> bytes:
    return envelope.unwrap("k", stored, made, LIMIT)


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_at_any_position_is_found(name: str) -> None:
    """In the header, in the compressor's own framing, in its data."""
    stored = stored_by(name)
    assert unwrap(stored) == VALUES["small"]
    for position in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises((CorruptValue, PluginError)):
            unwrap(bytes(damaged))


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_off_or_longer_value_is_found(name: str) -> None:
    """At any length."""
    stored = stored_by(name)
    for length in range(len(stored)):
        with pytest.raises((CorruptValue, PluginError)):
            unwrap(stored[:length])
    with pytest.raises(CorruptValue):
        unwrap(stored + b"\0")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("claim", [2**50, 2**40, LIMIT])
def test_a_claim_of_a_petabyte_takes_no_memory(name: str, claim: int) -> None:
    """Not in the envelope, and not where only the compressor could tell."""
    compressor = made(name)
    packed = compressor.compress(VALUES["small"])
    stored = envelope.prefix(name) + struct.pack(">QI", claim, 0) + packed
    tracemalloc.start()
    try:
        with pytest.raises(CorruptValue):
            unwrap(stored)
        with suppress(CorruptValue):  # one that cannot tell leaves it to the envelope
            assert compressor.decompress(packed, claim) == VALUES["small"]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_stops_at_the_length_it_claims(name: str) -> None:
    """Ten megabytes of zeros in some hundred bytes that claim to be a hundred."""
    bomb = made(name).compress(b"\0" * 10**7)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptValue):
            unwrap(envelope.prefix(name) + struct.pack(">QI", 100, 0) + bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", NAMES)
def test_garbage_is_refused_by_the_compressor_itself(name: str) -> None:
    """Or it gives another length, which the envelope sees; never another exception."""
    for garbage in (b"", b"\0", b"\xff" * 40, b"plain text", VALUES["noise"]):
        try:
            made(name).decompress(garbage, 100)
        except CorruptValue:
            continue
        assert name == "lz4"  # a block has no checksum of its own


@pytest.mark.parametrize("name", NAMES)
def test_what_would_not_shrink_is_stored_plain(name: str) -> None:
    """It costs the plain envelope, and no decompression."""
    noise = random.Random(1).randbytes(500)
    stored = envelope.wrap_compressed("k", noise, envelope.prefix(name), made(name))
    assert stored == envelope.wrap("k", noise)


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_a_value_of_a_plugin_that_is_not_installed_names_what_to_install(
    name: str, written: Mapping[str, Path]
) -> None:
    """And the key; nothing is damaged."""
    installed = [each for each in entry_points(group="statekeep") if each.name != name]
    config = load({"sqlite": {"path": str(written[name])}})
    with (
        compose(config, Registry(installed)) as storage,
        pytest.raises(PluginError, match=f"'small' cannot be read.*pip install statekeep-{name}"),
    ):
        storage.values.get("small")


def test_a_plugin_whose_library_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is there, what it stands on is not."""
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    for module in ("driver", "compressor"):
        monkeypatch.delitem(sys.modules, f"statekeep_lz4.{module}", raising=False)
        monkeypatch.delattr(import_module("statekeep_lz4"), module, raising=False)
    with pytest.raises(PluginError, match="compressor 'lz4' cannot be loaded: "):
        statekeep.open({"memory": {}, "compression": "lz4"})


def test_a_level_out_of_range_names_the_option() -> None:
    """Before anything is opened."""
    for name in ("lz4", "zstd"):
        with pytest.raises(statekeep.ConfigError, match=r"storage\.compression\.level: must be"):
            statekeep.open({"memory": {}, "compression": {"name": name, "level": 99}})


def test_a_reader_that_writes_too_is_a_mistake() -> None:
    """Its options would be given twice."""
    both = {"name": "gzip", "readers": {"gzip": {}, "zsdt": {}}}
    with pytest.raises(statekeep.ConfigError) as caught:
        statekeep.open({"memory": {}, "compression": both})
    first, second = caught.value.problems
    assert "readers.gzip: writes too" in first
    assert "there is no compressor 'zsdt'" in second
