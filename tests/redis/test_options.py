"""Options and URLs: the guide's names and defaults, and errors that say what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from statekeep.config import load
from statekeep.errors import ConfigError
from statekeep_redis import PoolConfig, RedisConfig


def config(source: Any) -> RedisConfig:
    backend = load(source if isinstance(source, str) else {"redis": source}).backend
    assert isinstance(backend, RedisConfig)
    return backend


def test_defaults_are_the_guides() -> None:
    """Port 6379, database 0, 2000 ms, no TLS, pool -1/8/0."""
    made = config({"host": "redis.example.com"})
    assert (made.host, made.port, made.database) == ("redis.example.com", 6379, 0)
    assert (made.username, made.password, made.timeout, made.ssl) == (None, None, 2000, False)
    assert made.pool == PoolConfig(max_total=-1, max_idle=8, min_idle=0)
    assert (made.prefix, made.wait_replicas) == ("statekeep:", 0)


def test_the_guides_names_are_accepted() -> None:
    """camelCase and snake_case, the pool nested or flat."""
    wanted = PoolConfig(max_total=20, max_idle=10, min_idle=5)
    guide = {"maxTotal": 20, "maxIdle": 10, "minIdle": 5}
    snake = {"max_total": 20, "max_idle": 10, "min_idle": 5}
    for options in (
        {"poolConfig": guide},
        {"pool_config": snake},
        guide,
        snake,
    ):
        assert config({"host": "h", **options}).pool == wanted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"host": "h", "port": 6379, "ssl": False}),
        ("redis://h:7000/3", {"port": 7000, "database": 3}),
        ("redis://user@h", {"username": "user", "password": None}),
        ("redis://:p%40ss%2Fw%3Ard@h", {"username": None, "password": "p@ss/w:rd"}),
        ("redis://us%C3%A9r:p%25@h", {"username": "usér", "password": "p%"}),
        ("rediss://h:6380/1?ssl_check_hostname=false", {"ssl": True, "ssl_check_hostname": False}),
        ("redis://h?ssl=true&max_total=5&timeout=100", {"ssl": True, "timeout": 100}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis:///?unix_socket=/run/redis.sock", {"host": None, "unix_socket": "/run/redis.sock"}),
        ("redis:///2?sentinels=a,b:1&master_name=m", {"database": 2, "sentinels": "a,b:1"}),
    ],
)
def test_urls(url: str, expected: dict[str, Any]) -> None:
    """Every part of a URL means what it says."""
    made = config(url)
    assert {name: getattr(made, name) for name in expected} == expected


def test_addresses_of_sentinels_and_nodes() -> None:
    """Lists or one text; with and without port; IPv6."""
    made = config({"sentinels": ["a:1", "b", "[::1]:3", "::2"], "master_name": "m"})
    assert made.sentinel_addresses() == (("a", 1), ("b", 26379), ("::1", 3), ("::2", 26379))
    assert config({"nodes": "a:1, b"}).node_addresses() == (("a", 1), ("b", 6379))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "host: is required"),
        ({"host": " "}, "host: must not be blank"),
        ({"host": "h", "port": 0}, "port: must be > 0"),
        ({"host": "h", "port": 65536}, "port: must be"),
        ({"host": "h", "database": -1}, "database: must be >= 0"),
        ({"host": "h", "timeout": 0}, "timeout: must be > 0"),
        ({"host": "h", "pool_config": {"max_total": 0}}, "pool_config.max_total: must be > 0"),
        ({"host": "h", "pool_config": {"maxIdel": 1}}, "did you mean 'max_idle'"),
        ({"host": "h", "prefix": " "}, "prefix: must not be blank"),
        ({"host": "h", "prefix": "a{b"}, "prefix: must hold a whole hash tag"),
        ({"host": "h", "prefix": "a}b{c}"}, "prefix: must hold a whole hash tag"),
        ({"host": "h", "prefix": "{}"}, "prefix: must hold a whole hash tag"),
        ({"host": "h", "nodes": ["a"]}, "nodes: cannot be given together with host"),
        ({"sentinels": ["a"]}, "master_name: is required"),
        ({"sentinels": ["a:b"], "master_name": "m"}, "sentinels: must be addresses"),
        ({"nodes": ["a"], "database": 1}, "database: must be 0 in a Cluster"),
        ({"host": "h", "password": "a", "password_file": "b"}, "cannot be given together"),
        ({"unix_socket": "/s", "ssl": True}, "ssl: cannot be used"),
        ({"host": "h", "pasword": "secret"}, "did you mean 'password'"),
        ({"host": "h", "wait_replicas": -1}, "wait_replicas: must be >= 0"),
    ],
)
def test_what_cannot_be_is_named(options: dict[str, Any], problem: str) -> None:
    """The option, the rule, the value."""
    with pytest.raises(ConfigError) as caught:
        config(options)
    assert problem in str(caught.value)


def test_a_rediss_url_cannot_be_without_tls() -> None:
    """Else it would connect in the clear."""
    with pytest.raises(ConfigError, match="rediss"):
        config("rediss://h?ssl=false")


def test_passwords_stay_secret() -> None:
    """Not in a repr, not in an error."""
    made = config({"host": "h", "password": "hush", "sentinel_password": "hush"})
    assert "hush" not in repr(made)
    with pytest.raises(ConfigError) as caught:
        config({"host": "h", "password": ["hush"]})
    assert "hush" not in str(caught.value)
