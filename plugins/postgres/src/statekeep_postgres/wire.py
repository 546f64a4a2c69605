"""PostgreSQL's extended query protocol, as much as one round trip per statement takes.

Pure functions over bytes: no socket, no pg8000. pg8000's own `run` needs three round trips for a
statement with parameters, and sends and receives `bytea` as hexadecimal text; here Parse, Bind,
Execute and Sync leave in one message, and all values are binary
(https://www.postgresql.org/docs/15/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from attrs import field, frozen

INT4 = Struct("!i")
INT8 = Struct("!q")
HEADER = Struct("!ci")

SYNC = b"S\x00\x00\x00\x04"
EXECUTE = b"E\x00\x00\x00\x09\x00\x00\x00\x00\x00"
BINARY_ALL = b"\x00\x00\x01\x00\x01"
"""The NUL that ends a name, and one format code for all: binary."""

MAX_MESSAGE_BYTES = 1_000_000_000
"""Below the gigabyte at which the server refuses a message, or cannot hold a parameter."""

OIDS = {"bool": 16, "bytea": 17, "int8": 20, "int2": 21, "int4": 23, "text": 25}
ARRAY_OIDS = {"bool": 1000, "bytea": 1001, "int8": 1016, "int2": 1005, "int4": 1007, "text": 1009}

NULL = b"\xff\xff\xff\xff"

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes], Any]


def _int8(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _same(data: bytes) -> bytes:
    return data


ENCODERS: dict[str, Encoder] = {
    "bool": lambda value: b"\x01" if value else b"\x00",
    "bytea": _same,
    "int8": INT8.pack,
    "int2": Struct("!h").pack,
    "int4": INT4.pack,
    "text": str.encode,
}
DECODERS: dict[str, Decoder] = {
    "bool": lambda data: data == b"\x01",
    "bytea": _same,
    "int8": _int8,
    "int2": _int8,
    "int4": _int8,
    "text": bytes.decode,
}


def _array_encoder(kind: str) -> Encoder:
    encode = ENCODERS[kind]
    oid = OIDS[kind]
    head = Struct("!iiiii")
    pack = INT4.pack
    empty = Struct("!iii").pack(0, 0, oid)

    def array(values: Sequence[Any]) -> bytes:
        if not values:
            return empty
        parts = [head.pack(1, 1, oid, len(values), 1)]
        for value in values:
            if value is None:
                parts.append(NULL)
            else:
                data = encode(value)
                parts.append(pack(len(data)))
                parts.append(data)
        return b"".join(parts)

    return array


def _encoder(kind: str) -> Encoder:
    return _array_encoder(kind[:-2]) if kind.endswith("[]") else ENCODERS[kind]


def _oid(kind: str) -> int:
    return ARRAY_OIDS[kind[:-2]] if kind.endswith("[]") else OIDS[kind]


@frozen(eq=False)
class Statement:
    """A statement, the types of its parameters, and those of its columns.

    Attributes:
        sql: with parameters $1, $2, ...
        takes: a type name for each parameter; `text[]` is an array of texts.
        gives: a type name for each column of the result.
    """

    sql: str
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    encoders: tuple[Encoder, ...] = field(init=False, repr=False)
    decoders: tuple[Decoder, ...] = field(init=False, repr=False)

    @encoders.default
    def _encoders(self) -> tuple[Encoder, ...]:
        return tuple(_encoder(kind) for kind in self.takes)

    @decoders.default
    def _decoders(self) -> tuple[Decoder, ...]:
        return tuple(DECODERS[kind] for kind in self.gives)

    def parse(self, name: bytes) -> bytes:
        """The message that prepares the statement under a name; no name lasts until the next."""
        oids = b"".join(INT4.pack(_oid(kind)) for kind in self.takes)
        count = len(self.takes).to_bytes(2, "big")
        return message(b"P", name + b"\0" + self.sql.encode() + b"\0" + count + oids)

    def bind(self, name: bytes, parameters: Sequence[Any]) -> bytes:
        """The messages that run the statement of this name, up to Sync."""
        parts = [b"", b"\0", name, BINARY_ALL, len(parameters).to_bytes(2, "big")]
        pack = INT4.pack
        for encode, value in zip(self.encoders, parameters, strict=True):
            if value is None:
                parts.append(NULL)
            else:
                data = encode(value)
                parts.append(pack(len(data)))
                parts.append(data)
        parts.append(BINARY_ALL[1:])
        parts[0] = HEADER.pack(b"B", sum(map(len, parts)) + 4)
        parts.append(EXECUTE)
        return b"".join(parts)

    def row(self, data: bytes) -> tuple[Any, ...]:
        """The values of a DataRow message, given without its header."""
        values: list[Any] = []
        position = 2
        unpack = INT4.unpack_from
        for decode in self.decoders:
            (length,) = unpack(data, position)
            position += 4
            if length < 0:
                values.append(None)
            else:
                values.append(decode(data[position : position + length]))
                position += length
        return tuple(values)


def message(code: bytes, data: bytes) -> bytes:
    """A message of the frontend."""
    return HEADER.pack(code, len(data) + 4) + data


def query(sql: str) -> bytes:
    """The message of the simple protocol: any number of statements, without parameters."""
    return message(b"Q", sql.encode() + b"\0")


def fields(data: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse: `C` its SQLSTATE, `V` its severity, `M` its message."""
    return {
        part[:1].decode("ascii"): part[1:].decode("utf-8", "replace")
        for part in data.split(b"\0")
        if part
    }
