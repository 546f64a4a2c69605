"""MariaDB's own replication by docs/high-availability.md: a failover under load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import statekeep
from statekeep import Unavailable

from tests.mysql.conftest import Open
from tests.mysql.opening import APP
from tests.operations.losses import mysql_pair, promote
from tests.operations.pages import toml
from tests.redis.loads import Load
from tests.servers.replication import MysqlReplication


@pytest.fixture
def pair() -> Iterator[MysqlReplication]:
    """A primary whose commits wait for its replica, with the page's config."""
    with mysql_pair() as made:
        yield made


def test_a_failover_under_load_loses_nothing(pair: MysqlReplication, opened: Open) -> None:
    """Primary killed, replica promoted: the same storage goes on, and all acknowledged is there."""
    hosts = f"127.0.0.1:{pair.primary.port},127.0.0.1:{pair.replica.port}"
    ours = {"db-1.internal,db-2.internal": hosts}
    config = toml("high-availability", "mysql-ha-app", ours)["storage"]["mysql"]
    with pytest.raises(Unavailable, match="read-only"):
        opened(pair.replica)
    with statekeep.open({"mysql": {**APP, **config}}) as storage, Load(storage) as load:
        load.progress(40)
        pair.primary.kill()
        promote(pair.replica)
        load.progress(40)
    with statekeep.open({"mysql": {**APP, **config}}) as storage:
        load.storage = storage
        load.verify()
