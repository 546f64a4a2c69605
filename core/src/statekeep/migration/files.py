"""Reading an export file: every record of it, or the error that says what is wrong and where."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import IO

from attrs import field, mutable

from statekeep.migration.blocks import DamagedFile, blocks
from statekeep.migration.format import Header, Malformed, Trailer, parse
from statekeep.migration.progress import Counter, Tally
from statekeep.migration.selection import Item


@mutable
class ExportFile:
    """An export file that is read from its present position to its end, once.

    Attributes:
        file: it.
        header: its first line, once that was read.
        tally: what was read, records of sets counted by their keys.
        good: records and pieces of sets in blocks that were right.
    """

    file: IO[bytes]
    header: Header | None = None
    good: int = 0
    _counter: Counter = field(factory=Counter, init=False)
    _trailer: Trailer | None = field(default=None, init=False)

    @property
    def tally(self) -> Tally:
        """What was read."""
        return self._counter.tally

    def blocks(self) -> Iterator[list[Item]]:
        """The records, block by block.

        Raises:
            DamagedFile: it is cut off, damaged or no export; found where it is so, so that only
                reading to the end proves the file good.
        """
        digest, size = hashlib.sha256(), 0
        try:
            for text in blocks(self.file):
                items, lines = self._parse(text, size, digest.hexdigest)
                yield items
                self.good += lines
                digest.update(text)
                size += len(text)
        except DamagedFile as error:
            raise self._damaged(str(error)) from error
        if self.header is None:
            raise self._damaged("it is empty")
        if self._trailer is None:
            raise self._damaged(f"it is cut off after {size} bytes of text: its trailer is missing")

    def _parse(self, text: bytes, before: int, digest: Callable[[], str]) -> tuple[list[Item], int]:
        """The records in the text of a block, and how many lines they were."""
        items: list[Item] = []
        for line in text.splitlines():
            if self._trailer is not None:
                raise DamagedFile("something follows its trailer")
            try:
                found = parse(line)
            except Malformed as error:
                raise DamagedFile(f"a line in the text behind byte {before} {error}") from error
            if (self.header is None) != isinstance(found, Header):
                raise DamagedFile("it does not begin with one header, as an export does")
            if isinstance(found, Header):
                self.header = found
            elif isinstance(found, Trailer):
                if items or (found.bytes, found.sha256) != (before, digest()):
                    raise DamagedFile("its checksum does not agree with its trailer")
                self._check_counts(found)
                self._trailer = found
            else:
                self._counter.add(found)
                items.append(found)
        return items, len(items)

    def _check_counts(self, trailer: Trailer) -> None:
        found = {kind: count.records for kind, count in self.tally.counts.items()}
        said = {kind: number for kind, number in trailer.records.items() if number}
        if found != said or self.tally.total.members != trailer.members:
            raise DamagedFile("its records are not as many as its trailer says")

    def _damaged(self, what: str) -> DamagedFile:
        name = getattr(self.file, "name", None)
        return DamagedFile(
            f"{name if isinstance(name, str) else 'the export'}: {what}; the {self.good} records "
            "before are good, and nothing was written",
            self.good,
        )
