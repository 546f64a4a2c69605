"""What lies in Redis: one key for value and version, names of our own, and nothing left behind."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import statekeep_redis
from statekeep import DeferredMessage, Entry, KeyValueRecord, Put, RecordKind, Restore, Transaction
from statekeep.errors import VersionConflict
from statekeep.layers.base import innermost
from statekeep_redis.names import SLOTS, Names, slot
from statekeep_redis.scripts import COMMIT

from tests.redis.conftest import Open
from tests.servers.redis import RedisProcess, eventually

SHORT = timedelta(milliseconds=20)


def keys(server: RedisProcess, prefix: str) -> set[str]:
    return {key.decode().removeprefix(prefix) for key in server.command("KEYS", prefix + "*")}


def test_the_keys_of_every_kind(server: RedisProcess, opened: Open, prefix: str) -> None:
    """Exactly these, and none once everything is removed but the floor of the versions."""
    storage = opened(server, prefix=prefix)
    storage.values.put("k", b"value", ttl=timedelta(hours=1))
    storage.sets.add("k", b"m")
    storage.deferred.schedule("k", "id", due=timedelta(0))
    storage.deferred.schedule("{tag}k", "id", due=timedelta(0))
    names = {"v:k", "s:k", "Q:{:k}", "H:{:k}", "q:{tag}k", "h:{tag}k", "i", "x", "f"}
    assert keys(server, prefix) == names
    storage.values.delete("k")
    storage.sets.remove("k", b"m")
    for queue in ("k", "{tag}k"):
        storage.deferred.cancel(queue, "id")
    assert keys(server, prefix) == {"f"}


def test_value_and_version_are_one_key(server: RedisProcess, opened: Open, prefix: str) -> None:
    """Eight bytes of version, eight of expiry, the value; Redis expires the key itself."""
    backend = innermost(opened(server, prefix=prefix).backend)
    (outcome,) = backend.commit([Transaction((Put("k", b"value", None, timedelta(hours=1)),))])
    stored = server.command("GET", prefix + "v:k")
    entry = backend.get_many(["k"])["k"]
    assert int.from_bytes(stored[:8], "big") == entry.version == outcome.versions["k"]
    assert stored[16:] == b"value"
    ends = datetime.fromtimestamp(server.command("PEXPIRETIME", prefix + "v:k") / 1000, UTC)
    assert abs(ends - entry.expires) <= timedelta(milliseconds=1)


def test_a_read_never_pairs_a_value_with_another_version(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """While it is written, each value read is the one that its version was given to."""
    storage, other = opened(server, prefix=prefix), opened(server, prefix=prefix)
    first = storage.values.put("k", b"0", expected=0)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            other.values.put("k", b"%d" % number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(500):
            entry = storage.values.get("k")
            assert entry is not None and entry.version - first == int(entry.value)
    finally:
        stop.set()
        thread.join()


def test_other_keys_of_the_server_are_left_alone(server: RedisProcess, opened: Open) -> None:
    """A prefix that begins another one, and keys without any: untouched by all that we do."""
    one, other = opened(server, prefix="app:"), opened(server, prefix="app:2:")
    server.command("SET", "app", "theirs")
    server.command("SET", "a*", "theirs")
    one.values.put("2:v:k", b"one")
    other.values.put("k", b"other")
    assert [key for key, _ in one.values.scan()] == ["2:v:k"]
    assert [key for key, _ in other.values.scan()] == ["k"]
    one.values.delete("2:v:k")
    one.purge()
    one.close()
    assert other.values.get("k") is not None
    assert server.command("MGET", "app", "a*") == [b"theirs", b"theirs"]


def test_nothing_flushes() -> None:
    """No FLUSHDB, FLUSHALL or KEYS anywhere in the plugin."""
    for path in Path(statekeep_redis.__file__).parent.rglob("*.[pl][yu]*"):
        if path.suffix in (".py", ".lua"):
            text = path.read_text().upper()
            assert "FLUSHDB" not in text and "FLUSHALL" not in text and '"KEYS"' not in text


def test_queues_never_meet() -> None:
    """Whatever braces a queue's name has, its two keys are in one slot, and only its own."""
    names = Names(b"p:", True)
    queues = [
        "a",
        "{a}",
        ":a",
        "{:a}",
        "}a{",
        "{}a",
        "a}b",
        "a{b",
        "{a}{b}",
        "{{a}}",
        "{",
        "}",
        "{}",
    ]
    seen: set[bytes] = set()
    for queue in queues:
        order, fields = names.queue(queue)
        assert slot(order) == slot(fields)
        seen |= {order, fields}
    assert len(seen) == 2 * len(queues)
    order, _ = names.queue("timers/{42}")
    tagged = {names.value("order/{42}"), names.members("tag/{42}"), order}
    assert {slot(name) for name in tagged} == {slot(b"{42}")}


def test_every_slot_has_its_own_index() -> None:
    """The names that each slot keeps for itself fall into it."""
    names = Names(b"p:", True)
    for number in (0, 1, 8191, SLOTS - 1):
        assert {slot(name) for name in names.scope(number)} == {number}


def test_versions_while_the_clock_stands_or_goes_back(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """Creations stay above every version that a key had, whatever the clock says.

    A version far ahead of the clock stands for a clock that was set back; the value goes by
    deletion, by expiry, and by a replacement that is older.
    """
    storage = opened(server, prefix=prefix)
    ahead = storage.values.put("k", b"") + 10**12
    gone = {
        "deleted": lambda: storage.values.delete("k"),
        "expired": lambda: storage.values.put("k", b"", ttl=SHORT),
        "replaced": lambda: (restore(Entry(b"", 5)), storage.values.delete("k")),
    }

    def restore(entry: Entry) -> None:
        storage.backend.commit([Transaction((Restore(KeyValueRecord("k", entry)),))])

    for how, go in gone.items():
        ahead += 10**9
        restore(Entry(b"", ahead))
        go()
        eventually(lambda: storage.values.get("k") is None, how)
        ahead = storage.values.put("k", b"", expected=0)
        assert ahead > 10**12 and server.command("GET", prefix + "f") is not None
        newest = int.from_bytes(server.command("GET", prefix + "f"), "big")
        assert ahead > newest, how


@pytest.mark.parametrize("version", [2**32 - 1, 2**53 - 1, 2**53, 2**53 + 1, 2**62 + 1])
def test_versions_of_more_bits_than_a_lua_number_has(
    server: RedisProcess, opened: Open, prefix: str, version: int
) -> None:
    """They are compared, counted up and kept exactly."""
    storage = opened(server, prefix=prefix)
    record = KeyValueRecord("k", Entry(b"", version))
    storage.backend.commit([Transaction((Restore(record),))])
    with pytest.raises(VersionConflict) as caught:
        storage.values.put("k", b"", expected=version - 1)
    assert caught.value.current == {"k": version}
    assert storage.values.put("k", b"", expected=version) == version + 1
    storage.values.delete("k", expected=version + 1)
    created = storage.values.put("k", b"", expected=0)
    assert created > version + 1 and (version < 2**52 or created == version + 2)


@pytest.mark.parametrize("year", [1, 1969, 2255, 2300, 9999])
def test_messages_of_any_time(server: RedisProcess, opened: Open, prefix: str, year: int) -> None:
    """Due times are kept to the microsecond, however far from now."""
    storage = opened(server, prefix=prefix)
    due = datetime(year, 12, 31, 23, 59, 59, 999_999, UTC)
    storage.deferred.schedule("q", "id", due=due)
    (message,) = storage.deferred.scan("q")
    assert (message.due, message.visible) == (due, due)
    held = DeferredMessage("q", "held", due, b"p", "token", 3, due)
    storage.backend.commit([Transaction((Restore(held),))])
    assert held in list(storage.deferred.scan("q"))
    assert [m.id for m in storage.deferred.claim("q", limit=9)] == (
        ["held", "id"] if due < datetime.now(UTC) else []
    )


def test_names_of_expired_values_go_by_themselves(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """Writers with a time to live take the names along that others left; purge() the rest."""
    storage = opened(server, prefix=prefix)
    for number in range(40):
        storage.values.put(f"a{number}", b"", ttl=SHORT)
    time.sleep(0.1)
    for number in range(8):
        storage.values.put(f"b{number}", b"", ttl=timedelta(hours=1))
    left = server.command("ZCARD", prefix + "i")
    assert left <= 40 - 4 * 8 + 8 + 8
    assert storage.purge() == left - 8
    assert server.command("ZCARD", prefix + "i") == server.command("ZCARD", prefix + "x") == 8
    storage.values.put("b0", b"for ever")
    assert server.command("ZCARD", prefix + "x") == 7


def test_a_name_that_expired_and_came_back_stays(
    server: RedisProcess, opened: Open, prefix: str
) -> None:
    """A key created again after its expiry is found by scans, whatever is reclaimed."""
    storage = opened(server, prefix=prefix)
    storage.values.put("k", b"", ttl=SHORT)
    eventually(lambda: storage.values.get("k") is None, "expiry")
    storage.values.put("k", b"again")
    storage.values.put("other", b"", ttl=timedelta(hours=1))
    storage.purge()
    assert {key for key, _ in storage.values.scan()} == {"k", "other"}


def test_pages_are_bounded_in_bytes(server: RedisProcess, opened: Open, prefix: str) -> None:
    """Large values come a few at a time."""
    storage = opened(server, prefix=prefix)
    for number in range(6):
        storage.values.put(f"k{number}", bytes(6_000_000))
        storage.deferred.schedule("q", f"{number}", due=timedelta(0), payload=bytes(6_000_000))
    page = storage.backend.scan(RecordKind.KEY_VALUE, prefix="", limit=100, cursor=None)
    assert 0 < len(page.items) < 4 and page.cursor is not None
    assert len(list(storage.values.scan())) == len(list(storage.deferred.scan("q"))) == 6


def test_the_servers_limit_of_a_value(opened: Open) -> None:
    """proto-max-bulk-len is asked for, and a larger value never sent: the server would hang up."""
    with RedisProcess({"proto-max-bulk-len": "5mb"}) as server:
        storage = opened(server)
        limit = innermost(storage.backend).capabilities.max_value_bytes
        assert 4 * 2**20 < limit < 5 * 2**20
        storage.values.put("k", bytes(4 * 2**20))
        with pytest.raises(ValueError, match="at most"):
            storage.values.put("k", bytes(6 * 2**20))


def test_a_transaction_is_one_command(server: RedisProcess, opened: Open, prefix: str) -> None:
    """And several are one pipeline: the server sees a script for each, in one read."""
    storage = opened(server, prefix=prefix)
    storage.values.put("k", b"")
    before = server.info("commandstats")["cmdstat_evalsha"]["calls"]
    with storage.transaction() as tx:
        tx.put("k", b"")
        tx.add("s", b"m")
        tx.schedule("q", "id", due=timedelta(0))
    assert server.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    assert len(COMMIT.text) < 12_000
