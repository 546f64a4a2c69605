"""Trained dictionaries: ids in the frames, several at once, and what happens without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import statekeep
import zstandard
from statekeep import ConfigError, InvalidArgument, PluginError
from statekeep.compressor import TrainedDictionary
from statekeep_zstd import ZstdConfig
from statekeep_zstd.compressor import ZstdCompressor
from statekeep_zstd.plugin import statekeep_compressors


def states(kind: str, count: int = 1000) -> list[bytes]:
    return [
        b'{"kind": "%s", "id": %d, "status": "shipping", "paid": true, "customer": "c-%05d"}'
        % (kind.encode(), number * 7919, number * 31 % 99991)
        for number in range(count)
    ]


def train(kind: str) -> TrainedDictionary:
    return ZstdCompressor(3).train(states(kind), 4096)


@pytest.fixture(scope="module")
def orders() -> TrainedDictionary:
    return train("order")


@pytest.fixture(scope="module")
def invoices() -> TrainedDictionary:
    return train("invoice")


def opened(*files: Path) -> ZstdCompressor:
    (plugin,) = statekeep_compressors()
    made = plugin.factory(ZstdConfig(dictionaries=[str(file) for file in files]))
    assert isinstance(made, ZstdCompressor)
    return made


@pytest.fixture
def files(
    tmp_path: Path, orders: TrainedDictionary, invoices: TrainedDictionary
) -> tuple[Path, Path]:
    first, second = tmp_path / "orders.dict", tmp_path / "invoices.dict"
    first.write_bytes(orders.content)
    second.write_bytes(invoices.content)
    return first, second


def test_the_frame_names_its_dictionary(
    files: tuple[Path, Path], orders: TrainedDictionary
) -> None:
    """As the standard has it, so that any zstd tool can tell too; and values shrink."""
    value = states("order", 2000)[1500]
    packed = opened(files[0]).compress(value)
    assert zstandard.get_frame_parameters(packed).dict_id == orders.id != 0
    assert len(packed) * 2 < len(ZstdCompressor(3).compress(value))


def test_the_first_dictionary_writes_and_all_read(files: tuple[Path, Path]) -> None:
    """A new dictionary is put before the old one, and old values stay readable."""
    orders, invoices = files
    value = states("order")[3]
    old, plain = opened(orders).compress(value), opened().compress(value)
    now = opened(invoices, orders)
    for packed in (old, plain, now.compress(value)):
        assert now.decompress(packed, len(value)) == value


def test_a_missing_dictionary_is_named(files: tuple[Path, Path], orders: TrainedDictionary) -> None:
    """By the id in the value, beside the ids that are there; it is no damage."""
    value = states("order")[3]
    packed = opened(files[0]).compress(value)
    for reader in (opened(), opened(files[1])):
        with pytest.raises(PluginError, match=f"dictionary {orders.id}, which is not among"):
            reader.decompress(packed, len(value))


def test_a_missing_dictionary_is_named_with_the_key(
    files: tuple[Path, Path], tmp_path: Path, orders: TrainedDictionary
) -> None:
    """Through the whole storage."""
    source = {"sqlite": {"path": str(tmp_path / "s.db")}}
    compression = {"name": "zstd", "dictionary": str(files[0]), "min_size": 0}
    with statekeep.open(source, compression=compression) as storage:
        storage.values.put("order/3", states("order")[3])
    with (
        statekeep.open(source, compression="gzip") as storage,
        pytest.raises(PluginError, match=f"'order/3' cannot be read: .* {orders.id}"),
    ):
        storage.values.get("order/3")
    readers = {"name": "gzip", "readers": {"zstd": {"dictionary": str(files[0])}}}
    with statekeep.open(source, compression=readers) as storage:
        entry = storage.values.get("order/3")
        assert entry is not None
        assert entry.value == states("order")[3]


def test_a_file_that_is_no_dictionary_is_refused_when_opening(tmp_path: Path) -> None:
    """With its name: missing, empty, text, cut off."""
    files = {"empty": b"", "text": b"not a dictionary at all", "cut": train("x").content[:40]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name}: "):
            opened(tmp_path / name)
    with pytest.raises(ConfigError, match=r"cannot read .*missing: .*No such file"):
        opened(tmp_path / "missing")
    with pytest.raises(ConfigError, match="must be the path of a dictionary"):
        statekeep.open({"memory": {}, "compression": {"name": "zstd", "dictionaries": [1]}})


def test_two_dictionaries_of_one_id_are_refused(tmp_path: Path, orders: TrainedDictionary) -> None:
    """Which of them a value needs could not be told; the same file twice is no matter."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(orders.content)
    second.write_bytes(orders.content[:-1] + b"?")
    opened(first, first)
    with pytest.raises(ConfigError, match=f"has the id {orders.id} too"):
        opened(first, second)


def test_training_on_too_little_says_so() -> None:
    """The error states how much there was."""
    with pytest.raises(InvalidArgument, match="from 3 samples of 3 bytes"):
        ZstdCompressor(3).train([b"a"] * 3, 4096)


def test_a_damaged_frame_with_a_dictionary_is_never_wrong_data(files: tuple[Path, Path]) -> None:
    """Every bit of it, through the envelope."""
    from statekeep import CorruptValue, envelope

    compressor = opened(*files)
    value = states("order")[3]
    stored = envelope.wrap_compressed("k", value, envelope.prefix("zstd"), compressor)
    assert envelope.unwrap("k", stored, lambda name: compressor, 2**20) == value
    for position in range(32, len(stored) * 8):
        damaged = bytearray(stored)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises((CorruptValue, PluginError)):
            envelope.unwrap("k", bytes(damaged), lambda name: compressor, 2**20)
