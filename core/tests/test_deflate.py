"""gzip and deflate by isal, zlib-ng or the standard library: each reads what the others wrote."""

from __future__ import annotations

import gzip
import zlib
from itertools import product

import pytest
from statekeep import deflate
from statekeep.compressor import ZlibCompressor
from statekeep.errors import CorruptValue

VALUE = b'{"order": 42, "status": "paid", "lines": [1, 1, 1, 1, 1]}' * 20
INSTALLED = {
    "none": {},
    "isal": {deflate.ISAL},
    "zlib-ng": {deflate.ZLIB_NG},
    "both": {deflate.ISAL, deflate.ZLIB_NG},
}
LEVELS = (1, 3, 4, 6, 7, 9)
find = deflate._module


def compressor(
    monkeypatch: pytest.MonkeyPatch, installed: str, level: int, wbits: int
) -> ZlibCompressor:
    """As it would be with only these libraries installed."""

    def pretend(name: str) -> object:
        return find(name) if name in INSTALLED[installed] else None

    monkeypatch.setattr(deflate, "_module", pretend)
    return ZlibCompressor(level, wbits)


@pytest.fixture(autouse=True)
def both_are_here() -> None:
    pytest.importorskip(deflate.ISAL)
    pytest.importorskip(deflate.ZLIB_NG)


@pytest.mark.parametrize(("wbits", "level"), list(product((15, 31), LEVELS)))
@pytest.mark.parametrize("installed", INSTALLED)
def test_the_standard_library_reads_what_any_of_them_wrote(
    monkeypatch: pytest.MonkeyPatch, installed: str, level: int, wbits: int
) -> None:
    """And the other way round, so libraries may come and go."""
    use = compressor(monkeypatch, installed, level, wbits)
    packed = use.compress(VALUE)
    assert (gzip.decompress if wbits == 31 else zlib.decompress)(packed) == VALUE
    assert use.decompress(zlib.compress(VALUE, level, wbits), len(VALUE)) == VALUE


@pytest.mark.parametrize("installed", INSTALLED)
def test_each_of_them_is_bounded_and_refuses_damage(
    monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    """Trailing bytes, cut-off data, a bomb, garbage: all one error."""
    use = compressor(monkeypatch, installed, 1, 31)
    packed, bomb = use.compress(VALUE), use.compress(b"\0" * 10**7)
    damaged = (
        packed + b"\0",
        packed[:-1],
        packed[:20],
        b"",
        b"\xff" * 50,
        b"\x1f\x8b" + b"\0" * 30,
    )
    for data in damaged:
        with pytest.raises(CorruptValue):
            use.decompress(data, len(VALUE))
    with pytest.raises(CorruptValue):
        use.decompress(bomb, 100)


def test_which_one_writes_at_which_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest that shrinks no less than zlib does at that level."""
    found = {}
    for installed, level in product(INSTALLED, LEVELS):
        compressor(monkeypatch, installed, level, 31)
        found[installed, level] = deflate.implementation(level).writer.__name__.rpartition(".")[2]
    assert {found["none", level] for level in LEVELS} == {"zlib"}
    assert [found["both", level] for level in LEVELS] == [
        *("isal_zlib", "isal_zlib", "zlib_ng", "zlib_ng", "zlib", "zlib")
    ]
    assert found["zlib-ng", 1] == "zlib_ng"
    assert found["isal", 6] == "zlib"


def test_a_library_that_is_not_installed_is_no_error() -> None:
    """The standard library does what it always did."""
    assert deflate._module("statekeep_no_such_library") is None
