"""What Infinitic would have written, written by SQL and Redis commands of its layout.

Values are given as they are stored: whoever compresses one does it as commons-compress would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field

from tests.servers.mysql import PASSWORD, MysqlProcess
from tests.servers.postgres import PostgresProcess
from tests.servers.redis import RedisProcess

Values = Mapping[str, tuple[bytes, int]]
"""What is stored, and its version, by key."""


class Deployment(ABC):
    """A place where Infinitic keeps its state."""

    backend: str
    """The name of the source that reads it."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is."""

    @abstractmethod
    def put(self, values: Values) -> None:
        """Writes values."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes a value."""

    @abstractmethod
    def add(self, key: str, members: Iterable[bytes]) -> None:
        """Adds members to a set."""

    @abstractmethod
    def remove(self, key: str, members: Iterable[bytes]) -> None:
        """Removes members of a set."""


@define
class PostgresDeployment(Deployment):
    """Tables in a schema of their own.

    Attributes:
        versions: whether the table of values has the column, as newer versions make it.
        key: the type of keys.
    """

    server: PostgresProcess
    schema: str
    versions: bool = True
    key: str = "VARCHAR(255)"
    database: str = "postgres"
    backend: str = field(default="infinitic_postgres", init=False)
    client: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = self.server.client(self.database)
        version = ", version BIGINT NOT NULL DEFAULT 1" if self.versions else ""
        values, sets = f"{self.schema}.key_value_storage", f"{self.schema}.key_set_storage"
        for statement in (
            f"CREATE SCHEMA IF NOT EXISTS {self.schema}",
            f"CREATE TABLE {values} (id BIGSERIAL PRIMARY KEY, key {self.key} NOT NULL UNIQUE, "
            "value BYTEA NOT NULL, last_update TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP, "
            f"value_size_in_KiB INTEGER{version})",
            f"CREATE INDEX value_size_index ON {values} (value_size_in_KiB)",
            f"CREATE TABLE {sets} (id SERIAL PRIMARY KEY, key {self.key} NOT NULL, "
            "value BYTEA NOT NULL)",
            f"CREATE INDEX index_key ON {sets} (key)",
            f"CREATE INDEX index_key_value ON {sets} (key, value)",
        ):
            self.client.run(statement)

    @property
    def url(self) -> str:
        """Over the network; tests open many, and few connections each."""
        where = f"127.0.0.1:{self.server.port}/{self.database}"
        return f"infinitic+postgres://postgres@{where}?schema={self.schema}&minimum_idle=0"

    def put(self, values: Values) -> None:
        """One upsert for all."""
        version = ", version" if self.versions else ""
        update = ", version = EXCLUDED.version" if self.versions else ""
        self.client.run(
            f"INSERT INTO {self.schema}.key_value_storage (key, value, value_size_in_KiB{version}) "
            f"SELECT k, v, ceil(octet_length(v) / 1024.0)::int{', n' if self.versions else ''} "
            "FROM unnest(:keys ::text[], :stored ::bytea[], :versions ::int8[]) AS t (k, v, n) "
            f"ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value{update}",
            keys=list(values),
            stored=[stored for stored, _ in values.values()],
            versions=[version for _, version in values.values()],
        )

    def delete(self, key: str) -> None:
        """One row."""
        self.client.run(f"DELETE FROM {self.schema}.key_value_storage WHERE key = :key", key=key)

    def add(self, key: str, members: Iterable[bytes]) -> None:
        """One row each; nothing keeps it from being there twice."""
        self.client.run(
            f"INSERT INTO {self.schema}.key_set_storage (key, value) "
            "SELECT :key, m FROM unnest(:members ::bytea[]) m",
            key=key,
            members=list(members),
        )

    def remove(self, key: str, members: Iterable[bytes]) -> None:
        """All rows of each."""
        self.client.run(
            f"DELETE FROM {self.schema}.key_set_storage "
            "WHERE key = :key AND value = ANY (:members ::bytea[])",
            key=key,
            members=list(members),
        )


@define
class MysqlDeployment(Deployment):
    """Tables in a database of their own.

    Attributes:
        versions: as of PostgreSQL.
        key: the type of keys.
        charset: what the tables are in; Infinitic says `utf8`.
        member: the type of members.
    """

    server: MysqlProcess
    database: str
    versions: bool = True
    key: str = "VARCHAR(255)"
    charset: str = "CHARSET=utf8"
    member: str = "VARCHAR(255)"
    backend: str = field(default="infinitic_mysql", init=False)
    client: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server.sql(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")
        self.client = self.server.client(self.database, charset="utf8mb4")
        version = ", version BIGINT NOT NULL DEFAULT 1" if self.versions else ""
        self.run(
            "CREATE TABLE key_value_storage (id BIGINT AUTO_INCREMENT PRIMARY KEY, "
            f"`key` {self.key} NOT NULL UNIQUE, value LONGBLOB NOT NULL, "
            "last_update TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP "
            "ON UPDATE CURRENT_TIMESTAMP, "
            "`value_size_in_KiB` BIGINT(20) GENERATED ALWAYS AS ((length(`value`) / 1024)) STORED"
            f"{version}"
            f") ENGINE=InnoDB DEFAULT {self.charset}"
        )
        self.run("CREATE INDEX value_size_index ON key_value_storage (value_size_in_KiB)")
        self.run(
            f"CREATE TABLE key_set_storage (`id` BIGINT(20) AUTO_INCREMENT PRIMARY KEY, "
            f"`key` {self.key} NOT NULL, `value` {self.member} NOT NULL, KEY(`key`), "
            f"KEY `key_value_idx` (`key`,`value`)) ENGINE=InnoDB DEFAULT {self.charset}"
        )

    def run(self, statement: str, rows: Any = None) -> None:
        """One statement, or the same with many rows."""
        with self.client.cursor() as cursor:
            if rows is None:
                cursor.execute(statement)
            else:
                cursor.executemany(statement, rows)

    @property
    def url(self) -> str:
        """Over the network."""
        user = f"app:{PASSWORD}".replace(" ", "%20")
        where = f"127.0.0.1:{self.server.port}/{self.database}"
        return f"infinitic+mysql://{user}@{where}?minimum_idle=0"

    def put(self, values: Values) -> None:
        """Upserts."""
        names = "`key`, value, version" if self.versions else "`key`, value"
        rows = [
            (key, stored, version) if self.versions else (key, stored)
            for key, (stored, version) in values.items()
        ]
        update = ", version = VALUES(version)" if self.versions else ""
        self.run(
            f"INSERT INTO key_value_storage ({names}) VALUES ({', '.join(['%s'] * len(rows[0]))}) "
            f"ON DUPLICATE KEY UPDATE value = VALUES(value){update}",
            rows,
        )

    def delete(self, key: str) -> None:
        """One row."""
        self.run("DELETE FROM key_value_storage WHERE `key` = %s", [(key,)])

    def add(self, key: str, members: Iterable[bytes]) -> None:
        """One row each."""
        rows = [(key, member) for member in members]
        self.run("INSERT INTO key_set_storage (`key`, `value`) VALUES (%s, %s)", rows)

    def remove(self, key: str, members: Iterable[bytes]) -> None:
        """All rows of each."""
        rows = [(key, member) for member in members]
        self.run("DELETE FROM key_set_storage WHERE `key` = %s AND `value` = %s", rows)


@define
class RedisDeployment(Deployment):
    """A numbered database.

    Attributes:
        versions: whether each value has its `key:version` beside it, as newer versions keep it.
    """

    server: RedisProcess
    database: int
    versions: bool = True
    backend: str = field(default="infinitic_redis", init=False)
    client: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = self.server.client(db=self.database)
        self.client.flushdb()

    @property
    def url(self) -> str:
        """Over the network."""
        return f"infinitic+redis://127.0.0.1:{self.server.port}/{self.database}"

    def put(self, values: Values) -> None:
        """A transaction, as Infinitic's."""
        with self.client.pipeline(transaction=True) as pipeline:
            for key, (stored, version) in values.items():
                pipeline.set(key.encode(), stored)
                if self.versions:
                    pipeline.set(f"{key}:version".encode(), str(version))
            pipeline.execute()

    def delete(self, key: str) -> None:
        """The value and its version."""
        self.client.delete(key.encode(), f"{key}:version".encode())

    def add(self, key: str, members: Iterable[bytes]) -> None:
        """One SADD."""
        self.client.sadd(key.encode(), *members)

    def remove(self, key: str, members: Iterable[bytes]) -> None:
        """One SREM."""
        self.client.srem(key.encode(), *members)
