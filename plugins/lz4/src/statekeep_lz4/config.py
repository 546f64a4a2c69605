"""The options of the compressor `lz4`."""

from __future__ import annotations

from attrs import frozen
from statekeep.options import between, option


@frozen(kw_only=True)
class Lz4Config:
    """Blocks of LZ4, as the `lz4` library makes them."""

    level: int = option(
        0,
        "below 0 faster and larger, 3 to 12 the slower and smaller method; "
        "reading is as fast for all",
        between(-64, 12),
    )
