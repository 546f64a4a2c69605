"""Deflate by the fastest implementation that is installed; all of them read one another.

isal (Intel's ISA-L) and zlib-ng have the interface of `zlib`. Which one writes depends on the
level, because they do not shrink alike. On JSON of 5 KB, level by level, ratio and µs: zlib 1
3.9/17, isal 4.1/10; zlib 6 4.2/28, zlib-ng 4.4/33 (on 1 MB: half the time); on 1 MB zlib 9 5.3,
zlib-ng 9 5.0, isal at most 4.6. So no level is larger than the standard library's.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib import import_module
from typing import Any

from attrs import frozen

ISAL = "isal.isal_zlib"
ZLIB_NG = "zlib_ng.zlib_ng"
ISAL_LEVEL = 2
"""Of 0 to 3: the higher ones take longer and gain nothing on JSON."""


@frozen
class Implementation:
    """How to write at one level, and how to read.

    Attributes:
        writer: a module like `zlib`.
        level: what that module calls the level.
        reader: a module like `zlib`.
    """

    writer: Any
    level: int
    reader: Any

    def compress(self, data: bytes, wbits: int) -> bytes:
        """See `zlib.compress`."""
        packed: bytes = self.writer.compress(data, self.level, wbits)
        return packed

    def decompressor(self, wbits: int) -> Any:
        """See `zlib.decompressobj`."""
        return self.reader.decompressobj(wbits)

    @property
    def error(self) -> Any:
        """What `decompressor` raises on damage."""
        return self.reader.error


def implementation(level: int) -> Implementation:
    """The fastest implementation that is installed and shrinks no less than zlib at this level."""
    isal, ng = _module(ISAL), _module(ZLIB_NG)
    reader = isal or ng or zlib
    if level <= 3 and isal:
        return Implementation(isal, ISAL_LEVEL, reader)
    if level <= 6 and ng:
        return Implementation(ng, max(level, 2), reader)  # its level 1 shrinks less than zlib's
    return Implementation(zlib, level, reader)


@cache
def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        return None
