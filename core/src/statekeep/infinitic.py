"""What Infinitic, a workflow system on the JVM, stores: the parts that no database changes.

It writes values as they are, or compressed by Apache commons-compress, and keeps no note of
which: whoever reads looks at the first bytes. Versions begin at 1 and grow by one; stores that
are older than its versions have none. `docs/design/0007-foreign-sources.md` has the details.
"""

from __future__ import annotations

import bz2
import zlib
from typing import Any

from attrs import frozen

from statekeep.backend import LARGE_VALUE_BYTES
from statekeep.errors import CorruptValue, Unsupported
from statekeep.foreign import key_of
from statekeep.model import Entry, KeyValueRecord
from statekeep.options import one_of, option

FIRST_VERSION = 1
"""Of a value that Infinitic wrote once, and of one that it wrote before it counted versions."""

MOST_VERSION = 2**63 - 1
REFUSE, AS_STORED = "refuse", "as_stored"

GZIP = b"\x1f\x8b"
BZIP2 = b"BZh"
DEFLATE = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
LEAST_DEFLATE = 4
"""commons-compress takes nothing shorter for deflate."""

ZLIB_OR_GZIP = 32 + 15
"""zlib's window bits that recognise either header (zlib's manual, inflateInit2)."""


def undecodable_option() -> Any:
    """The option `undecodable`, for the config classes of the sources."""
    return option(
        REFUSE,
        "a value that begins as a compressed one and cannot be decompressed: refuse reports it, "
        "as_stored hands it out unchanged, as Infinitic itself does",
        one_of(REFUSE, AS_STORED),
    )


def create_option() -> Any:
    """The option `create`, which the config classes inherit and a source has no use for."""
    return option(
        False,
        "must be false: nothing is created for another program",
        lambda value: "must be false" if value else None,
    )


@frozen
class Values:
    """Makes entries of what Infinitic stored.

    Attributes:
        where: the store, for messages.
        undecodable: what to do with a value that only looks compressed: "refuse" or "as_stored".
    """

    where: str
    undecodable: str = REFUSE

    def record(self, name: str | bytes, version: int | None, stored: bytes) -> KeyValueRecord:
        """The record of a stored value.

        Raises:
            CorruptValue: its version is none, or it cannot be decompressed.
            Unsupported: statekeep cannot hold it.
        """
        key = key_of(self.where, "value", name)
        return KeyValueRecord(key, self.entry(key, version, stored))

    def entry(self, key: str, version: int | None, stored: bytes) -> Entry:
        """The entry of a stored value; `version` is None where none is kept. Raises as `record`."""
        if version is None:
            version = FIRST_VERSION
        if not 0 < version <= MOST_VERSION:
            raise CorruptValue(
                f"{self.where}: the value of {key!r} has the version {version}, which Infinitic "
                "does not write: correct it there"
            )
        return Entry(self._content(key, stored), version)

    def _content(self, key: str, stored: bytes) -> bytes:
        try:
            value = decompress(stored, LARGE_VALUE_BYTES + 1)
        except CorruptValue as error:
            if self.undecodable == AS_STORED:
                value = stored
            else:
                raise CorruptValue(
                    f"{self.where}: the value of {key!r} begins as a compressed one, and {error}: "
                    "it is damaged, or was never compressed; restore it, or set undecodable = "
                    f'"{AS_STORED}" to read such values as they are stored'
                ) from error
        if len(value) > LARGE_VALUE_BYTES:
            raise Unsupported(
                f"{self.where}: statekeep cannot hold the value of {key!r}: it has more than "
                f"{LARGE_VALUE_BYTES} bytes"
            )
        return value


def is_compressed(stored: bytes) -> bool:
    """Whether a value begins as one that Infinitic compressed (see the module's docstring)."""
    if stored[:2] in DEFLATE:
        return len(stored) >= LEAST_DEFLATE
    return stored.startswith((GZIP, BZIP2))


def decompress(stored: bytes, limit: int) -> bytes:
    """The value, decompressed if it begins as a compressed one; its first `limit` bytes at most.

    Raises:
        CorruptValue: it begins as a compressed one, but is none, or not to its end.
    """
    if not is_compressed(stored):
        return stored
    machine = bz2.BZ2Decompressor() if stored[:3] == BZIP2 else zlib.decompressobj(ZLIB_OR_GZIP)
    try:
        value = machine.decompress(stored, limit)
    except (zlib.error, OSError, ValueError) as error:
        raise CorruptValue(f"it cannot be decompressed ({error})") from error
    if len(value) < limit and not machine.eof:
        raise CorruptValue("it is cut off")
    if machine.unused_data:
        raise CorruptValue("more follows behind its end")
    return value
