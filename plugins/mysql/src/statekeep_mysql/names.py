"""The names of everything in the database, quoted."""

from __future__ import annotations

from attrs import field, frozen
from statekeep.sql.names import derived

from statekeep_mysql.config import MAX_IDENTIFIER, MysqlConfig

VALUE = ("`key`",)
MESSAGE = ("queue", "id")
MEMBER = ("`key`", "member")
"""The columns of each primary key, in its order."""


def quote(name: str) -> str:
    """An identifier as SQL writes it, whatever characters it has."""
    return "`" + name.replace("`", "``") + "`"


@frozen
class Names:
    """Tables and indexes of one storage. What ends in `_table` is quoted."""

    database: str
    key_value: str
    key_set: str
    deferred: str
    floor: str = field(init=False)
    layout: str = field(init=False)
    key_value_table: str = field(init=False)
    key_set_table: str = field(init=False)
    deferred_table: str = field(init=False)
    floor_table: str = field(init=False)
    layout_table: str = field(init=False)

    @classmethod
    def of(cls, config: MysqlConfig) -> Names:
        """The names that a config asks for."""
        return cls(
            config.database, config.key_value_table, config.key_set_table, config.deferred_table
        )

    @floor.default
    def _floor(self) -> str:
        return derived(self.key_value, "_floor", MAX_IDENTIFIER)

    @layout.default
    def _layout(self) -> str:
        return derived(self.key_value, "_layout", MAX_IDENTIFIER)

    @key_value_table.default
    def _key_value_table(self) -> str:
        return quote(self.key_value)

    @key_set_table.default
    def _key_set_table(self) -> str:
        return quote(self.key_set)

    @deferred_table.default
    def _deferred_table(self) -> str:
        return quote(self.deferred)

    @floor_table.default
    def _floor_table(self) -> str:
        return quote(self.floor)

    @layout_table.default
    def _layout_table(self) -> str:
        return quote(self.layout)
