"""The names of everything in the schema, quoted."""

from __future__ import annotations

from functools import cached_property

from attrs import define
from statekeep.sql import names

from statekeep_postgres.config import MAX_IDENTIFIER_BYTES, PostgresConfig


def quote(name: str) -> str:
    """An identifier as SQL writes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text constant as SQL writes it, under any setting of standard_conforming_strings."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"


def derived(name: str, suffix: str) -> str:
    """The name of what belongs to a table."""
    return names.derived(name, suffix, MAX_IDENTIFIER_BYTES)


@define(slots=False)
class Names:
    """Tables, indexes and functions of one storage.."""

    schema: str
    key_value: str
    key_set: str
    deferred: str

    @classmethod
    def of(cls, config: PostgresConfig) -> Names:
        """The names that a config asks for."""
        return cls(
            config.schema, config.key_value_table, config.key_set_table, config.deferred_table
        )

    @cached_property
    def floor(self) -> str:
        """The table of version floors."""
        return derived(self.key_value, "_floor")

    @cached_property
    def layout(self) -> str:
        """The table that says which layout the others have."""
        return derived(self.key_value, "_layout")

    @cached_property
    def commit(self) -> str:
        """The function that applies transactions; its number grows with its parameters."""
        return derived(self.key_value, "_commit_1")

    @cached_property
    def keep_floor(self) -> str:
        """The trigger, and its function, that keeps versions from coming back."""
        return derived(self.key_value, "_keep_floor_1")

    @cached_property
    def expires_index(self) -> str:
        """The index by which expired values are found."""
        return derived(self.key_value, "_expires")

    @cached_property
    def visible_index(self) -> str:
        """The index by which due messages are found."""
        return derived(self.deferred, "_visible")

    @property
    def tables(self) -> tuple[str, ...]:
        """All tables."""
        return (self.key_value, self.key_set, self.deferred, self.floor, self.layout)

    def q(self, name: str) -> str:
        """A table, index or function in the schema, quoted."""
        return f"{quote(self.schema)}.{quote(name)}"
