"""A source in portions: as large as one round trip of the target carries, and resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from statekeep.backend import Backend
from statekeep.errors import CorruptValue, InvalidArgument
from statekeep.migration.patience import Patience
from statekeep.migration.selection import Item, Selection, SetMembers, size_of
from statekeep.model import Record, RecordKind

BATCH = 1000
"""Records of a portion, unless told."""

SETS = 50
"""Sets of a portion: each may have any number of members."""

MEMBERS = 4000
"""Members of a page: of at most 1 KiB each."""


@frozen
class Place:
    """How far the records of one kind have been worked through.

    Attributes:
        cursor: of the page to come; None before the first one, and after the last.
        done: whether that was the last one.
    """

    cursor: str | None = None
    done: bool = False


START = Place()


@frozen
class Portion:
    """Records of one kind that are worked through together.

    Attributes:
        kind: theirs.
        items: the records.
        bytes: of their contents.
        place: where the next portion begins.
    """

    kind: RecordKind
    items: tuple[Item, ...]
    bytes: int
    place: Place


def portions(
    source: Backend,
    selection: Selection,
    batch: int,
    patience: Patience,
    places: Mapping[RecordKind, Place] | None = None,
) -> Iterator[Portion]:
    """All records of a source, kind by kind. Sets come as keys: see `members`.

    Args:
        source: where they are read.
        selection: which.
        batch: records of a portion.
        patience: with a source that is away.
        places: where to begin; at the beginning without it.

    Raises:
        InvalidArgument: the source does not know a place.
    """
    for kind in selection.kinds:
        place = (places or {}).get(kind, START)
        size = min(batch, SETS) if kind is RecordKind.KEY_SET else batch
        while not place.done:
            cursor = place.cursor
            page = patience.call(
                lambda: _page(source, kind, selection.prefix, size, cursor)  # noqa: B023  # called here
            )
            place = Place(page[1], done=page[1] is None)
            yield Portion(kind, page[0], sum(map(size_of, page[0])), place)


def _page(
    source: Backend, kind: RecordKind, prefix: str, limit: int, cursor: str | None
) -> tuple[tuple[Record, ...], str | None]:
    try:
        page = source.scan(kind, prefix=prefix, limit=limit, cursor=cursor)
    except CorruptValue as error:
        error.add_note("nothing behind it was read; delete it or put it right, then go on")
        raise
    except InvalidArgument as error:
        if cursor is not None:
            error.add_note("the source does not know this place of the checkpoint any more")
        raise
    return page.items, page.cursor


def members(source: Backend, key: str, patience: Patience) -> Iterator[SetMembers]:
    """The members of a set, page by page; nothing where there is none."""
    cursor = None
    while True:
        at = cursor
        page = patience.call(lambda: source.members(key, limit=MEMBERS, cursor=at))  # noqa: B023  # called here
        if page.items:
            yield SetMembers(key, page.items)
        cursor = page.cursor
        if cursor is None:
            return
