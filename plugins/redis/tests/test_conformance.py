"""Redis keeps the whole contract: one server, a Cluster, and an app in one slot of a Cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from statekeep.backend import Backend
from statekeep.testing import BackendConformance

from tests.servers.opening import given_opener, open_redis
from tests.servers.redis import RedisCluster, RedisProcess

Opener = Callable[[], Backend]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with RedisProcess() as process:
        yield process


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    cluster = RedisCluster(replicas=0)
    yield cluster
    cluster.close()


@pytest.mark.xdist_group("redis-one")
class TestOneServer(BackendConformance):
    """One server, over TCP."""

    @pytest.fixture
    def opener(self, request: pytest.FixtureRequest) -> Opener:
        if found := given_opener("redis"):
            return found
        server: RedisProcess = request.getfixturevalue("server")
        return partial(open_redis, {"host": "127.0.0.1", "port": server.port})


@pytest.mark.xdist_group("redis-cluster")
class TestCluster(BackendConformance):
    """Slots matter: the kit's names all have one hash tag for each test."""

    stateful_examples = 20

    @pytest.fixture
    def opener(self, cluster: RedisCluster) -> Opener:
        return partial(open_redis, {"nodes": cluster.addresses[:2]})


@pytest.mark.xdist_group("redis-cluster")
class TestOneSlot(BackendConformance):
    """A prefix with a hash tag: everything in one slot, so everything is atomic."""

    stateful_examples = 20

    @pytest.fixture
    def opener(self, cluster: RedisCluster) -> Opener:
        return partial(open_redis, {"nodes": cluster.addresses[:1], "prefix": "{app}:"})
