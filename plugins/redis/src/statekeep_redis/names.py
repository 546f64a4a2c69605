"""Names of keys in Redis, and the slots of a Cluster that they fall into.

All names begin with the prefix and a word of ours, so no user's key can meet an internal one:

    v:KEY                  a value, behind its header
    s:KEY                  a key-set: a sorted set, all scores 0
    q:QUEUE  h:QUEUE       a queue with a hash tag: ids by visibility, and the messages' fields
    Q:{:QUEUE}  H:{:QUEUE}   a queue without one: the braces keep the two in one slot
    i  f  x                index of all names, floor of versions, expiry times
    i:{N}  f:{N}  x:{N}    the same for each slot of a Cluster; N is any text that falls there
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from typing import TypeAlias

from attrs import frozen

SLOTS = 16384

Scope: TypeAlias = tuple[bytes, bytes, bytes]
"""The names of index, floor and expiry times."""


def hash_tag(name: bytes) -> bytes | None:
    """What stands in the first braces, or None where Redis would hash the whole name."""
    start = name.find(b"{")
    if start < 0:
        return None
    end = name.find(b"}", start + 1)
    return name[start + 1 : end] if end > start + 1 else None


def slot(name: bytes) -> int:
    """The slot of a key (Redis Cluster specification: CRC-16/XMODEM of the hash tag)."""
    tag = hash_tag(name)
    return crc_hqx(name if tag is None else tag, 0) % SLOTS


@cache
def _tags() -> tuple[bytes, ...]:
    """A short text for every slot; about 50 ms, once."""
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < SLOTS:
        text = b"%x" % number
        found.setdefault(crc_hqx(text, 0) % SLOTS, text)
        number += 1
    return tuple(found[each] for each in range(SLOTS))


@frozen
class Names:
    """The names below one prefix.

    Attributes:
        prefix: what all of them begin with.
        spread: whether slots matter: a Cluster whose prefix has no hash tag.
    """

    prefix: bytes
    spread: bool

    @property
    def cut(self) -> bytes:
        """The length of the prefix, for scripts."""
        return b"%d" % len(self.prefix)

    def value(self, key: str) -> bytes:
        """The name of a value."""
        return b"%bv:%b" % (self.prefix, key.encode())

    def members(self, key: str) -> bytes:
        """The name of a key-set."""
        return b"%bs:%b" % (self.prefix, key.encode())

    def queue(self, queue: str) -> tuple[bytes, bytes]:
        """The names of a queue's order and of its fields, in one slot."""
        name = queue.encode()
        if hash_tag(name) is not None:
            return b"%bq:%b" % (self.prefix, name), b"%bh:%b" % (self.prefix, name)
        return b"%bQ:{:%b}" % (self.prefix, name), b"%bH:{:%b}" % (self.prefix, name)

    def slot(self, name: bytes) -> int:
        """Where a key lies; 0 where there is only one place."""
        return slot(name) if self.spread else 0

    def scope(self, slot: int) -> Scope:
        """Index, floor and expiry times of a slot."""
        if not self.spread:
            return self.prefix + b"i", self.prefix + b"f", self.prefix + b"x"
        tag = _tags()[slot]
        return (
            b"%bi:{%b}" % (self.prefix, tag),
            b"%bf:{%b}" % (self.prefix, tag),
            b"%bx:{%b}" % (self.prefix, tag),
        )
