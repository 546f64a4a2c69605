"""A file of gzip members, one for each block: damage to one of them is found there."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import IO, Any

from statekeep import deflate
from statekeep.errors import CorruptValue

GZIP = 31
"""What zlib calls the format: a window of 32 KiB, a gzip header and trailer."""

LEVEL = 3
BLOCK_BYTES = 2**20
"""Of text, from which a block is full."""

LARGEST_BLOCK = 128 * 2**20
"""Of text: a record of 64 MiB in base64, and what may stand before it."""

CHUNK = 2**16


class DamagedFile(CorruptValue):
    """An export file is cut off, damaged, or none; nothing of it was used.

    Attributes:
        good: records before the damage.
    """

    def __init__(self, message: str, good: int = 0) -> None:
        self.good = good
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (str(self), self.good))


class BlockWriter:
    """Writes text in blocks.

    Args:
        file: where to.

    Attributes:
        bytes: of text, so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._deflate = deflate.implementation(LEVEL)
        self._waiting: list[bytes] = []
        self._size = 0
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, line: bytes) -> None:
        """Adds a line."""
        self._waiting.append(line)
        self._size += len(line)
        if self._size >= BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Ends a block."""
        if not self._size:
            return
        text = b"".join(self._waiting)
        self._waiting, self._size = [], 0
        self._hash.update(text)
        self.bytes += len(text)
        self._file.write(self._deflate.compress(text, GZIP))

    @property
    def sha256(self) -> str:
        """Of all text in blocks that have ended."""
        return self._hash.hexdigest()


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The text of each block, once its checksum was found right.

    Raises:
        DamagedFile: the file ends within a block, or a block is damaged; it says where.
    """
    reader, start, rest = deflate.implementation(LEVEL), 0, b""
    while True:
        rest = rest or file.read(CHUNK)
        if not rest:
            return
        text, rest, length = _block(file, rest, reader, start)
        start += length
        yield text


def _block(
    file: IO[bytes], rest: bytes, reader: deflate.Implementation, start: int
) -> tuple[bytes, bytes, int]:
    """The text of a block, what was read behind it, and the block's length in the file."""
    member: Any = reader.decompressor(GZIP)
    parts: list[bytes] = []
    size, length = 0, 0
    while not member.eof:
        if not rest:
            raise DamagedFile(f"the file is cut off, within the block at byte {start}")
        try:
            parts.append(member.decompress(rest, LARGEST_BLOCK - size + 1))
        except (reader.error, zlib.error) as error:
            raise DamagedFile(f"the block at byte {start} is damaged ({error})") from error
        size += len(parts[-1])
        if size > LARGEST_BLOCK:
            raise DamagedFile(f"the block at byte {start} is larger than any that is written")
        length += len(rest)
        rest = member.unused_data if member.eof else file.read(CHUNK)
    return b"".join(parts), rest, length - len(rest)
