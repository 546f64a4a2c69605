"""The stored form of a value: any damage is found, and nothing hostile is unbounded."""

import struct
import zlib

import pytest
from statekeep import envelope
from statekeep.compressor import Bzip2Compressor, Compressor, ZlibCompressor
from statekeep.errors import CorruptValue, PluginError, StorageError

LIMIT = 64 * 2**20
VALUE = b'{"order": 42, "status": "paid", "lines": [1, 1, 1, 1, 1, 1, 1, 1]}' * 4
COMPRESSORS: dict[str, Compressor] = {
    "gzip": ZlibCompressor(6, 31),
    "deflate": ZlibCompressor(6, 15),
    "bzip2": Bzip2Compressor(9),
}


def find(name: str) -> Compressor:
    if name not in COMPRESSORS:
        raise PluginError(f"compressor {name!r} is not installed")
    return COMPRESSORS[name]


def stored_forms() -> dict[str, bytes]:
    forms = {"plain": envelope.wrap("order/42", VALUE), "empty": envelope.wrap("order/42", b"")}
    for name, compressor in COMPRESSORS.items():
        head = envelope.prefix(name)
        forms[name] = envelope.wrap_compressed("order/42", VALUE, head, compressor)
    return forms


def unwrap(stored: bytes, key: str = "order/42", limit: int = LIMIT) -> bytes:
    return envelope.unwrap(key, stored, find, limit)


@pytest.mark.parametrize("form", stored_forms())
def test_what_was_wrapped_comes_back(form: str) -> None:
    """Every form gives the value back, and says within its overhead how it was made."""
    stored = stored_forms()[form]
    value = b"" if form == "empty" else VALUE
    assert unwrap(stored) == value
    assert len(stored) <= len(value) + envelope.MAX_OVERHEAD


@pytest.mark.parametrize("form", stored_forms())
def test_a_flipped_bit_at_any_position_is_found(form: str) -> None:
    """No single bit of what is stored can change unnoticed, headers and padding included."""
    stored = stored_forms()[form]
    for position in range(len(stored) * 8):
        damaged = bytearray(stored)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises((CorruptValue, PluginError)):
            unwrap(bytes(damaged))


@pytest.mark.parametrize("form", stored_forms())
def test_a_cut_off_value_is_found_at_any_length(form: str) -> None:
    """A value that lost its end, or gained one, is never taken for whole."""
    stored = stored_forms()[form]
    for length in range(len(stored)):
        with pytest.raises((CorruptValue, PluginError)):
            unwrap(stored[:length])
    with pytest.raises(CorruptValue):
        unwrap(stored + b"\0")


@pytest.mark.parametrize("form", stored_forms())
def test_a_value_under_another_key_is_found(form: str) -> None:
    """The key is part of the checksum, so values cannot change places."""
    with pytest.raises(CorruptValue, match="order/43"):
        unwrap(stored_forms()[form], key="order/43")


@pytest.mark.parametrize("form", ["gzip", "deflate", "bzip2"])
def test_what_compression_would_not_shrink_is_stored_plain(form: str) -> None:
    """Random bytes do not grow by more than the plain envelope."""
    value = bytes(zlib.crc32(bytes([i])) & 0xFF for i in range(200))
    stored = envelope.wrap_compressed("k", value, envelope.prefix(form), COMPRESSORS[form])
    assert stored == envelope.wrap("k", value)


def test_a_claim_beyond_the_limit_is_refused_before_decompressing() -> None:
    """A petabyte is not even tried."""
    head = envelope.prefix("gzip")
    stored = head + struct.pack(">QI", 2**50, 0) + zlib.compress(b"x", wbits=31)
    with pytest.raises(CorruptValue, match="more than any value"):
        unwrap(stored)


@pytest.mark.parametrize("form", ["gzip", "deflate", "bzip2"])
def test_decompression_makes_no_more_than_was_claimed(form: str) -> None:
    """A small value that unpacks to a gigabyte stops at the length it claims."""
    bomb = COMPRESSORS[form].compress(b"\0" * 10**7)
    stored = envelope.prefix(form) + struct.pack(">QI", 100, 0) + bomb
    with pytest.raises(CorruptValue):
        unwrap(stored)
    with pytest.raises(CorruptValue):
        COMPRESSORS[form].decompress(bomb, 100)


def test_a_compressor_that_is_not_installed_is_named() -> None:
    """The error says which plugin made the value."""
    stored = bytearray(stored_forms()["gzip"])
    stored[4:8] = b"zst9"
    with pytest.raises(PluginError, match="zst9"):
        unwrap(bytes(stored))


@pytest.mark.parametrize("raw", [b"", b"plain text", b"\x1f\x8b\x08gzip", b"\xd5K\x02\x00"])
def test_bytes_without_an_envelope_are_corrupt(raw: bytes) -> None:
    """What another program wrote is never returned as if it were the data."""
    with pytest.raises(CorruptValue, match="'k'"):
        unwrap(raw, key="k")


def test_a_name_that_is_too_long_is_a_programming_error() -> None:
    """The header has one byte for the length of the name."""
    with pytest.raises(ValueError, match="at most 64"):
        envelope.prefix("x" * 65)


def test_every_error_is_a_storage_error() -> None:
    """A caller that catches the root class misses nothing."""
    with pytest.raises(StorageError):
        unwrap(b"?")
