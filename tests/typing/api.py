"""The public API as a type checker sees it; `make check` runs mypy over this, nobody runs it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import assert_type

import statekeep
from statekeep import Backend, Capabilities, DeferredMessage, Entry, Page, Storage

storage = statekeep.open("statekeep.toml", compression="gzip")
assert_type(storage, Storage)
statekeep.open({"backend": "memory"})
statekeep.open()

assert_type(storage.values.get("k"), Entry | None)
assert_type(storage.values.get_many(["k"]), dict[str, Entry])
assert_type(storage.values.put("k", b"v", expected=0, ttl=timedelta(seconds=1)), int)
assert_type(storage.values.put_many({"k": b"v"}), dict[str, int])
assert_type(storage.values.delete("k", expected=1), bool)
assert_type(storage.values.update("k", lambda value: value, attempts=3), Entry | None)
assert_type(storage.values.scan("p"), Iterator[tuple[str, Entry]])
storage.values.put("k", "text")  # type: ignore[arg-type]  # values are bytes

assert_type(storage.sets.members("k"), frozenset[bytes])
assert_type(storage.sets.members_many(["k"]), dict[str, frozenset[bytes]])
assert_type(storage.sets.page("k", limit=10), Page[bytes])
assert_type(storage.sets.contains("k", b"m"), bool)
storage.sets.add("k", b"m", b"n")
storage.sets.update(add={"k": [b"m"]}, remove={"l": (b"n",)})
for page in storage.sets.pages("k"):
    assert_type(page.items, tuple[bytes, ...])

storage.deferred.schedule("q", "i", due=datetime.now(UTC), payload=b"")
storage.deferred.schedule("q", "i", due=timedelta(seconds=1))
assert_type(storage.deferred.cancel("q", "i"), bool)
messages = storage.deferred.claim("q", limit=3, lease=timedelta(seconds=5))
assert_type(messages, list[DeferredMessage])
storage.deferred.acknowledge(messages[0])
storage.deferred.release(messages[0], delay=timedelta(seconds=1))
storage.deferred.extend(messages[0], timedelta(seconds=1))

with storage.transaction() as tx:
    tx.put("k", b"v", expected=None)
    tx.check("l", 0)
    tx.add("s", b"m")
    tx.acknowledge(messages[0])
assert_type(tx.versions["k"], int)

assert_type(storage.capabilities, Capabilities)
assert_type(storage.backend, Backend)
assert_type(storage.purge(), int)
