"""Names of what belongs to a table."""

from __future__ import annotations

import zlib


def derived(name: str, suffix: str, most: int) -> str:
    """The name of what belongs to a table; a long one is cut, and told from others by its CRC.

    Args:
        name: the table's.
        suffix: what it is.
        most: how many bytes of UTF-8 a name may have.
    """
    whole = name + suffix
    if len(whole.encode()) <= most:
        return whole
    end = f"_{zlib.crc32(name.encode()):08x}{suffix}"
    return name.encode()[: most - len(end)].decode("utf-8", "ignore") + end
