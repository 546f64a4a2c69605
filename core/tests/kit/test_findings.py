"""What the kit's author found in the core, to be moved into the kit once it is mended."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from statekeep.errors import InvalidArgument
from statekeep.storage import Storage
from statekeep_memory.backend import MemoryBackend

BEYOND = [
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
]


@pytest.mark.xfail(reason="validate.due lets a moment through that UTC cannot hold", strict=True)
@pytest.mark.parametrize("due", BEYOND, ids=["before_year_1", "after_year_9999"])
def test_due_that_utc_cannot_hold_is_refused(due: datetime) -> None:
    """InvalidArgument and nothing written; now OverflowError in the middle of the transaction."""
    with Storage(MemoryBackend()) as storage:
        with pytest.raises(InvalidArgument), storage.transaction() as tx:
            tx.put("key", b"")
            tx.schedule("queue", "id", due=due)
        assert storage.values.get("key") is None
