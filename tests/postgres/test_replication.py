"""A primary and its streaming standby: who may be written to, and what survives a failover.

Both are configured as docs/high-availability.md has it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from statekeep import OutcomeUnknown, Storage, Unavailable
from statekeep.errors import StorageError

from tests.operations.pages import settings, toml
from tests.postgres.conftest import Open
from tests.postgres.loads import Load, patiently
from tests.postgres.test_limits import Call
from tests.servers.postgres import SAFE, PostgresProcess, eventually

PAGE = "high-availability"

Pair = tuple[PostgresProcess, PostgresProcess]


def standby_options(primary: PostgresProcess) -> dict[str, str]:
    """The page's, with the primary's address; trust stands for the password."""
    to = "host=db-1.internal port=5432 user=replicator"
    ours = f"host={primary.folder} port={primary.port} user=postgres"
    return settings(PAGE, "postgres-standby", {to: ours})


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary whose commits wait for its standby."""
    with (
        PostgresProcess(SAFE) as primary,
        PostgresProcess(standby_options(primary), primary=primary) as standby,
    ):
        primary.configure(settings(PAGE, "postgres-primary"))
        primary.reload()
        eventually(lambda: synchronous(primary), "synchronous replication")
        yield primary, standby


def synchronous(primary: PostgresProcess) -> bool:
    return primary.sql("SELECT sync_state FROM pg_stat_replication") == [["quorum"]]


def hosts(*servers: PostgresProcess) -> dict[str, Any]:
    return {"host": ",".join(f"127.0.0.1:{server.port}" for server in servers)}


def recovered(storage: Storage, seconds: float = 20.0) -> float:
    """Writes until it works again by itself; the seconds that it took."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        with suppress(StorageError):
            storage.values.put("recovered", b"")
            return time.monotonic() - started
        time.sleep(0.05)
    storage.values.put("recovered", b"")
    return time.monotonic() - started


def test_a_standby_is_passed_over(pair: Pair, opened: Open) -> None:
    """Alone it is refused, with the reason; among several hosts the primary is found."""
    primary, standby = pair
    with pytest.raises(Unavailable, match="read-only, a standby perhaps; nothing was applied"):
        opened(standby)
    storage = opened(**hosts(standby, primary))
    version = storage.values.put("key", b"value")
    assert storage.values.put("key", b"value", expected=version) == version + 1
    primary.kill()
    with pytest.raises(Unavailable, match="no server will do") as caught:
        opened(**hosts(standby, primary))
    for server, reason in ((standby, "read-only"), (primary, "cannot connect")):
        assert f"127.0.0.1:{server.port}" in str(caught.value) and reason in str(caught.value)


def test_reading_from_a_standby(pair: Pair, opened: Open) -> None:
    """With target_session_attrs = any: reads work, a write says where it must go."""
    primary, standby = pair
    opened(primary).values.put("key", b"value")
    storage = eventually(lambda: opened(standby, target_session_attrs="any"), "the tables")
    entry = eventually(lambda: storage.values.get("key"), "the value")
    assert entry is not None and entry.value == b"value"
    version = entry.version
    for write in (
        lambda: storage.values.put("key", b"never"),
        lambda: storage.values.put("key", b"never", expected=version),
        lambda: storage.deferred.claim("queue"),
        lambda: storage.sets.add("set", b"never"),
    ):
        with pytest.raises(Unavailable, match=r"read-only.*promote it") as caught:
            write()
        assert "nothing was applied" in str(caught.value)
    assert storage.values.get("key") == entry


def fail_over(pair: Pair, opened: Open, schema: str, frozen: bool) -> None:
    """The primary goes under load and the standby takes over; compares."""
    primary, standby = pair
    ours = {"db-1.internal,db-2.internal,db-3.internal": hosts(primary, standby)["host"]}
    options = toml(PAGE, "postgres-ha-app", ours)["storage"]["postgres"] | {"schema": schema}
    storage = opened(**options)
    with Load(options) as load:
        load.progress(15)
        primary.freeze() if frozen else primary.kill()
        standby.promote()
        load.progress(15)
    assert recovered(storage) < 15
    load.verify(storage)
    assert load.record.unknown or load.record.refused, "nobody noticed the failover"
    assert standby.sql(f"SELECT count(*) > 0 FROM {schema}.key_value_storage") == [[True]]


def test_a_failover_under_load(pair: Pair, opened: Open, schema: str) -> None:
    """Primary killed, standby promoted: nothing acknowledged is lost, all go on by themselves."""
    fail_over(pair, opened, schema, frozen=False)


@pytest.mark.soak
def test_a_failover_from_a_frozen_primary(pair: Pair, opened: Open, schema: str) -> None:
    """The same where the old primary does not even refuse connections."""
    fail_over(pair, opened, schema, frozen=True)


def test_an_old_primary_that_returns(pair: Pair, opened: Open) -> None:
    """It is writable, and could be taken for the primary: who has moved on stays away."""
    primary, standby = pair
    storage = opened(**hosts(primary, standby), maximum_pool_size=1)
    storage.values.put("key", b"before")
    primary.kill()
    standby.promote()
    recovered(storage)
    primary.start()
    standby.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'statekeep'"
    )
    version = storage.values.put("key", b"after")
    assert storage.values.put("key", b"after", expected=version) == version + 1
    assert standby.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'statekeep'")


def waiting(primary: PostgresProcess) -> int:
    """The process of the server that waits for the standby."""
    rows = primary.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    return int(rows[0][0]) if rows else 0


def test_a_standby_that_is_gone(pair: Pair, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits wait for it: within the time limit the outcome is unknown; then it is there."""
    monkeypatch.setattr("statekeep_postgres.driver.GRACE", 0.3)
    primary, standby = pair
    storage = opened(primary, statement_timeout=200)
    version = storage.values.put("key", b"before")
    standby.kill()
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="read the versions again"):
        storage.values.put("key", b"after", expected=version)
    assert time.monotonic() - started < 0.5 + 3
    standby.start()
    entry = eventually(lambda: changed(storage, version), "the write, once the standby has it")
    assert (entry.value, entry.version) == (b"after", version + 1)


def changed(storage: Storage, version: int) -> Any:
    entry = patiently(lambda: storage.values.get("key"))
    return entry if entry is not None and entry.version != version else None


def test_waits_for_the_standby_that_are_cut_short(pair: Pair, opened: Open) -> None:
    """An administrator ends them: committed here and nowhere else, which is no acknowledgement."""
    primary, standby = pair
    storage = opened(primary)
    version = storage.values.put("key", b"before")
    standby.kill()

    def conditional() -> int:
        return storage.values.put("key", b"after", expected=version)

    def transaction() -> None:
        with storage.transaction() as tx:
            tx.put("key", b"after")
            tx.add("set", b"member")

    for write in (conditional, transaction):
        for how in ("pg_cancel_backend", "pg_terminate_backend"):
            call = Call(write)
            process = eventually(lambda: waiting(primary), "a commit that waits")
            primary.sql(f"SELECT {how}({process})")
            with pytest.raises(OutcomeUnknown, match="read the versions again"):
                call.result()
            entry = storage.values.get("key")
            assert entry is not None and entry.version == version + 1
            version += 1
