"""How far a copy has come, in a file that survives the process."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen, mutable

from statekeep.errors import InvalidArgument
from statekeep.migration.durable import replacing, sync_folder
from statekeep.migration.progress import Count
from statekeep.migration.reading import Place
from statekeep.migration.selection import EVERYTHING, Selection
from statekeep.model import RecordKind

FORMAT = "statekeep-checkpoint"
VERSION = 1
EVERY = 0.25
"""Seconds between two writes of the file."""


@frozen
class Pair:
    """What is copied where, as people would say it: without secrets.

    Attributes:
        source: names the source.
        target: names the target.
        selection: which records.
    """

    source: str
    target: str
    selection: Selection = EVERYTHING

    @property
    def described(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "source": self.source,
            "target": self.target,
            "prefix": self.selection.prefix,
            "kinds": [kind.value for kind in self.selection.kinds],
        }

    @property
    def file_name(self) -> str:
        """A name for the file, the same for the same pair."""
        digest = hashlib.sha256(json.dumps(self.described).encode()).hexdigest()
        return f"statekeep-migrate-{digest[:12]}.json"


@mutable
class Checkpoint:
    """How far a copy of this pair has come.

    Attributes:
        path: the file; it is not there before the first save.
        pair: what is copied where.
        places: by kind, behind what the target has acknowledged.
        counts: by kind, what that was.
        fresh: whether the target had nothing of this when the copy began: then what it has of it
            now is the copy's.
        resumed: whether the file was there.
    """

    path: Path
    pair: Pair
    places: dict[RecordKind, Place] = field(factory=dict)
    counts: dict[RecordKind, Count] = field(factory=dict)
    fresh: bool = False
    resumed: bool = False
    _saved: float = field(default=0.0, init=False)

    @classmethod
    def at(cls, path: Path, pair: Pair) -> Checkpoint:
        """The checkpoint in this file, or a new one where there is no file.

        Raises:
            InvalidArgument: the file is of another pair, or no checkpoint.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return cls(path, pair)
        try:
            found = json.loads(content)
            if (found["format"], found["version"]) != (FORMAT, VERSION):
                raise ValueError("another format")
            places = {RecordKind(kind): Place(**each) for kind, each in found["places"].items()}
            counts = {RecordKind(kind): Count(**each) for kind, each in found["counts"].items()}
            of, fresh = found["of"], found["fresh"] is True
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InvalidArgument(f"{path} is no checkpoint: name another file") from None
        if of != pair.described:
            raise InvalidArgument(
                f"{path} is the checkpoint of another move ({_told(of)}; this one is "
                f"{_told(pair.described)}): name another file, or delete it to begin anew"
            )
        return cls(path, pair, places, counts, fresh, resumed=True)

    def advance(self, kind: RecordKind, place: Place, count: Count) -> None:
        """The target has acknowledged all records of a kind before this place."""
        self.places[kind] = place
        self.counts[kind] = self.counts.get(kind, Count()) + count
        if time.monotonic() - self._saved >= EVERY:
            self.save()

    def save(self) -> None:
        """Writes the file: whole, on the disk, or not at all."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "of": self.pair.described,
            "fresh": self.fresh,
            "places": {kind.value: asdict(place) for kind, place in self.places.items()},
            "counts": {kind.value: asdict(count) for kind, count in self.counts.items()},
        }
        with replacing(self.path) as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
        self._saved = time.monotonic()

    def remove(self) -> None:
        """The move is complete: there is nothing to resume."""
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)


def _told(of: Any) -> str:
    if not isinstance(of, dict):
        return "of an unknown kind"
    kinds = ", ".join(map(str, of.get("kinds", ())))
    return f"from {of.get('source')} to {of.get('target')}, prefix {of.get('prefix')!r}, {kinds}"
