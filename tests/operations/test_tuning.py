"""docs/tuning.md: servers start with the settings, and what they are to change, they change."""

from __future__ import annotations

from pathlib import Path
from random import Random

import statekeep
from statekeep import Storage

from tests.mysql.opening import APP
from tests.operations.conftest import Open
from tests.operations.pages import settings, statements, toml
from tests.servers.mysql import FAST, MysqlProcess
from tests.servers.postgres import FAST as POSTGRES_FAST
from tests.servers.postgres import PostgresProcess, eventually
from tests.servers.redis import RedisProcess

PAGE = "tuning"
ROWS = 300
UPDATES = 600
VALUE = b"x" * 1000


def works(storage: Storage) -> None:
    """A write and a read."""
    version = storage.values.put("key", b"value")
    entry = storage.values.get("key")
    assert entry is not None and entry.version == version


def test_redis_starts_with_the_settings(opened: Open) -> None:
    """And has them."""
    with RedisProcess(settings(PAGE, "redis-tuning")) as server:
        with server.client(decode_responses=True) as client:
            assert client.config_get("io-threads") == {"io-threads": "4"}
        works(opened({"redis": {"host": "127.0.0.1", "port": server.port}}))


def test_mysql_starts_with_the_settings(opened: Open) -> None:
    """And takes the larger values; memory and log are made smaller for the test."""
    small = {"innodb_buffer_pool_size = 10G": "innodb_buffer_pool_size = 64M"}
    small |= {"innodb_log_file_size = 2G": "innodb_log_file_size = 48M"}
    with MysqlProcess({**FAST, **settings(PAGE, "mysql-tuning", small)}) as server:
        where = {**APP, "host": "127.0.0.1", "port": server.port, "minimum_idle": 0}
        storage = opened({"mysql": where})
        works(storage)
        assert storage.capabilities.max_value_bytes > 30_000_000


def test_room_in_a_page_keeps_updates_in_it() -> None:
    """Values are updated one at a time, at random: with the page's fillfactor all stay there."""
    small = {"shared_buffers = 4GB": "shared_buffers = 64MB"}
    options = {**POSTGRES_FAST, **settings(PAGE, "postgres-tuning", small)}
    with PostgresProcess({**options, "autovacuum": "off"}) as server:
        where = {"host": "127.0.0.1", "port": server.port, "minimum_idle": 0}
        states = {f"{number}": VALUE for number in range(ROWS)}
        with statekeep.open({"postgres": where}) as storage:
            storage.values.put_many(states)
        shares = []
        for changes in ((), statements(PAGE, "postgres-tables")):
            for change in changes:
                server.sql(change)
            with server.client() as client:
                client.autocommit = True
                client.run("VACUUM FULL infinitic.key_value_storage")
            server.sql("SELECT pg_stat_reset()")
            # A connection that ends tells its counts; one that is idle keeps them for a while.
            with statekeep.open({"postgres": where}) as storage:
                for number in Random(1).choices(range(ROWS), k=UPDATES):
                    storage.values.put(f"{number}", VALUE)
            shares.append(eventually(lambda: hot(server), "statistics"))
    as_it_is, tuned = shares
    assert as_it_is < 0.97 < 0.99 < tuned


def hot(server: PostgresProcess) -> float:
    """The share of updates that stayed in their page, once the server has counted them all."""
    ((counted,),) = server.sql("SELECT max(n_tup_upd) FROM pg_stat_user_tables")
    if counted < UPDATES:
        return 0.0
    (query,) = statements(PAGE, "postgres-hot")
    ((share,),) = server.sql(query)
    return float(share) or 1e-9


def test_sqlite_opens_with_the_settings(tmp_path: Path) -> None:
    """A storage by the page's config."""
    config = toml(PAGE, "sqlite-tuning", {"state.db": tmp_path / "state.db"})
    with statekeep.open(config) as storage:
        works(storage)
