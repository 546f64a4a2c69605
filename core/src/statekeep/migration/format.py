"""The lines of an export file, format 1: docs/export-format.md describes them for other readers."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from statekeep import validate
from statekeep.clock import MAX_MICROS, from_micros, to_micros
from statekeep.errors import InvalidArgument
from statekeep.migration.selection import Item, Selection, SetMembers
from statekeep.model import DeferredMessage, Entry, KeyValueRecord, RecordKind

FORMAT = "statekeep-export"
VERSION = 1

_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


class Malformed(Exception):
    """A line is not one of this format; the message says why."""


@frozen(kw_only=True)
class Header:
    """The first line.

    Attributes:
        created: when the export began, by the clock of the machine that made it.
        statekeep: the release that made it.
        backend: the name of the backend it was made from.
        selection: which records were asked for.
        since: only values created at or after this time, or None.
    """

    created: datetime
    statekeep: str
    backend: str
    selection: Selection
    since: datetime | None = None


@frozen(kw_only=True)
class Trailer:
    """The last line: what came before it.

    Attributes:
        records: values, sets and messages, by kind.
        members: of all sets.
        bytes: of all lines before this one, line ends included.
        sha256: of the same, in hexadecimal.
    """

    records: Mapping[RecordKind, int]
    members: int
    bytes: int
    sha256: str


Line = Header | Trailer | Item


def header_line(header: Header) -> bytes:
    """The header as a line."""
    return _line(
        {
            "format": FORMAT,
            "version": VERSION,
            "created": to_micros(header.created),
            "statekeep": header.statekeep,
            "backend": header.backend,
            "prefix": header.selection.prefix,
            "kinds": [kind.value for kind in header.selection.kinds],
            "since": None if header.since is None else to_micros(header.since),
        }
    )


def record_line(item: Item) -> bytes:
    """A record, or some members of a set, as a line."""
    if isinstance(item, KeyValueRecord):
        entry = item.entry
        line: dict[str, Any] = {"key": item.key, "version": entry.version}
        if entry.expires is not None:
            line["expires"] = to_micros(entry.expires)
        return _line({**line, "value": _text(entry.value)})
    if isinstance(item, SetMembers):
        return _line({"set": item.key, "members": [_text(member) for member in item.members]})
    assert isinstance(item, DeferredMessage)
    return _line(
        {
            "queue": item.queue,
            "id": item.id,
            "due": to_micros(item.due),
            "visible": to_micros(item.visible),
            "attempt": item.attempt,
            "token": item.token,
            "payload": _text(item.payload),
        }
    )


def trailer_line(trailer: Trailer) -> bytes:
    """The trailer as a line."""
    records = {kind.value: number for kind, number in trailer.records.items()}
    return _line(
        {
            "end": FORMAT,
            "records": records,
            "members": trailer.members,
            "bytes": trailer.bytes,
            "sha256": trailer.sha256,
        }
    )


def parse(line: bytes) -> Line:
    """What a line says.

    Raises:
        Malformed: it is none of this format, or none that this release knows.
    """
    try:
        found = _decode(line.decode("ascii"))
        if not isinstance(found, dict):
            raise Malformed("is no JSON object")
        return _parsed(found)
    except KeyError as error:
        raise Malformed(f"lacks {error}") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Malformed(f"is not of this format: {error}") from None


def _parsed(found: dict[str, Any]) -> Line:
    if "key" in found:
        version = validate.version(found["version"], "version")
        if not version:
            raise InvalidArgument("version must be positive")
        expires = _moment(found["expires"]) if found.get("expires") is not None else None
        value = b64decode(found["value"], validate=True)
        return KeyValueRecord(validate.key(found["key"]), Entry(value, version, expires))
    if "set" in found:
        if not (isinstance(found["members"], list) and found["members"]):
            raise Malformed("has no members")
        members = tuple(
            validate.member(b64decode(member, validate=True)) for member in found["members"]
        )
        return SetMembers(validate.key(found["set"]), members)
    if "queue" in found:
        return _message(found)
    return _header(found) if "format" in found else _trailer(found)


def _message(found: dict[str, Any]) -> DeferredMessage:
    attempt, token = found["attempt"], found["token"]
    if type(attempt) is not int or not 0 <= attempt < 2**31:
        raise InvalidArgument("attempt must be a whole number")
    return DeferredMessage(
        validate.key(found["queue"], "queue"),
        validate.key(found["id"], "id"),
        _moment(found["due"]),
        b64decode(found["payload"], validate=True),
        validate.key(token, "token") if token else "",
        attempt,
        _moment(found["visible"]),
    )


def _header(found: dict[str, Any]) -> Header:
    if found["format"] != FORMAT:
        raise Malformed("is the header of another format")
    if found["version"] != VERSION:
        raise Malformed(f"says format version {found['version']!r}; this release reads {VERSION}")
    header = Header(
        created=_moment(found["created"]),
        statekeep=str(found["statekeep"]),
        backend=str(found["backend"]),
        selection=Selection(found["prefix"], map(RecordKind, found["kinds"])),
    )
    since = found.get("since")
    return header if since is None else evolve(header, since=_moment(since))


def _trailer(found: dict[str, Any]) -> Trailer:
    if found["end"] != FORMAT:
        raise Malformed("is the trailer of another format")
    return Trailer(
        records={RecordKind(kind): int(number) for kind, number in found["records"].items()},
        members=int(found["members"]),
        bytes=int(found["bytes"]),
        sha256=str(found["sha256"]),
    )


def _moment(micros: Any) -> datetime:
    if type(micros) is not int or abs(micros) > MAX_MICROS:
        raise InvalidArgument(f"a time must be microseconds since 1970, got {str(micros)[:40]!r}")
    return from_micros(micros)


def _text(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _line(content: Mapping[str, Any]) -> bytes:
    return _encode(content).encode("ascii") + b"\n"
