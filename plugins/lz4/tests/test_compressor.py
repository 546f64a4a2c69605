"""LZ4 blocks: what the levels do, and that no claim takes memory."""

from __future__ import annotations

import json

import pytest
from statekeep import CorruptValue
from statekeep_lz4 import Lz4Config
from statekeep_lz4.compressor import LARGEST_GAIN, Lz4Compressor

STATE = json.dumps([{"id": number * 7919 % 1009, "type": "TaskDone"} for number in range(500)])
VALUE = STATE.encode()


def test_a_higher_level_is_smaller_and_all_read_one_another() -> None:
    """From the fastest to the smallest."""
    reader = Lz4Compressor(Lz4Config())
    sizes = []
    for level in (-64, -8, 0, 3, 12):
        packed = Lz4Compressor(Lz4Config(level=level)).compress(VALUE)
        assert reader.decompress(packed, len(VALUE)) == VALUE
        sizes.append(len(packed))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_the_largest_gain_is_one_that_blocks_reach_but_never_pass() -> None:
    """So the check refuses no honest block, and every claim beyond it."""
    compressor = Lz4Compressor(Lz4Config(level=12))
    for size in (1, 300, 10_000, 10**7):
        packed = compressor.compress(bytes(size))
        assert size <= LARGEST_GAIN * len(packed)
        assert compressor.decompress(packed, size) == bytes(size)
        with pytest.raises(CorruptValue, match="cannot hold"):
            compressor.decompress(packed, LARGEST_GAIN * len(packed) + 1)


@pytest.mark.parametrize("size", [0, len(VALUE) - 1, len(VALUE) + 1])
def test_another_length_is_damage(size: int) -> None:
    """A block does not know its length; the envelope does."""
    compressor = Lz4Compressor(Lz4Config())
    with pytest.raises(CorruptValue):
        compressor.decompress(compressor.compress(VALUE), size)
