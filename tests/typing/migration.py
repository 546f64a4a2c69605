"""`statekeep.migration` as a type checker sees it."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import assert_type

import statekeep
from statekeep import RecordKind, migration
from statekeep.migration import Checkpoint, Difference, OnConflict, Pair, Progress, Selection

old, new = statekeep.open("sqlite:///old.db"), statekeep.open("sqlite:///new.db")
values = Selection("order/", [RecordKind.KEY_VALUE])
checkpoint = Checkpoint.at(Path("move.json"), Pair("old", "new", values))


def watch(progress: Progress) -> None:
    assert_type(progress.total.records, int)


tally = migration.copy(
    old.backend,
    new.backend,
    values,
    on_conflict=OnConflict.SKIP,
    checkpoint=checkpoint,
    patience=timedelta(minutes=5),
    watch=watch,
)
assert_type(tally, migration.Tally)
assert_type(tally.total.written, int)
for each in migration.compare(old.backend, new.backend):
    assert_type(each, Difference)
    assert_type(each.name, str | tuple[str, str])
assert_type(migration.follow(old.backend, new.backend, delete=True), migration.Tally)
assert_type(
    migration.export(old.backend, BytesIO(), values, since=datetime.now(UTC)), migration.Tally
)
assert_type(migration.import_(new.backend, BytesIO()), migration.Tally)
assert_type(migration.check_file(BytesIO()).header, migration.Header | None)
assert_type(migration.delete_exported(old.backend, BytesIO()).kept, list[str])
migration.copy(old, new)  # type: ignore[arg-type]  # backends, not storages
