"""The tables, the steps that lead to them, and whether those in a database are ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from attrs import frozen
from statekeep.errors import AccessDenied, ConfigError, StorageError

from statekeep_mysql.driver import Connection
from statekeep_mysql.failures import code
from statekeep_mysql.literals import quoted
from statekeep_mysql.names import Names, quote

LAYOUT = 1
"""The layout that this version writes. A change adds a step and raises it."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "key_value": ("key varbinary(1024) not null", "version bigint not null", "expires bigint",
                  "size int unsigned stored", "value longblob not null"),
    "key_set": ("key varbinary(1024) not null", "member varbinary(1024) not null"),
    "deferred": ("queue varbinary(1024) not null", "id varbinary(1024) not null",
                 "due bigint not null", "visible bigint not null", "attempt int not null",
                 "token varbinary(1024) not null", "size int unsigned stored",
                 "payload longblob not null"),
    "floor": ("shard int not null", "version bigint not null"),
    "layout": ("id int not null", "layout int not null", "key_set varbinary(256) not null",
               "deferred varbinary(256) not null"),
}  # fmt: skip
"""What each table must look like: name, type."""

INDEXES: dict[str, tuple[str, ...]] = {
    "key_value": ("PRIMARY(key)", "expires(expires)"),
    "key_set": ("PRIMARY(key,member)",),
    "deferred": ("PRIMARY(queue,id)", "visible(queue,visible,id)"),
    "floor": ("PRIMARY(shard)",),
    "layout": ("PRIMARY(id)",),
}
"""What each table must have; others harm nobody."""

# Bytes compare as bytes: no case folding, no trailing blanks, no characters that get lost. The size
# of what is stored out of line is kept in the row, to be known without reading it. Index entries
# of 3072 bytes need this row format, whatever the server's default is.
TABLES = (
    """
    CREATE TABLE IF NOT EXISTS {key_value} (
        `key` VARBINARY(1024) NOT NULL, version BIGINT NOT NULL, expires BIGINT,
        size INT UNSIGNED GENERATED ALWAYS AS (LENGTH(value)) STORED, value LONGBLOB NOT NULL,
        PRIMARY KEY (`key`), KEY expires (expires)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
    """,
    """
    CREATE TABLE IF NOT EXISTS {key_set} (
        `key` VARBINARY(1024) NOT NULL, member VARBINARY(1024) NOT NULL, PRIMARY KEY (`key`, member)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
    """,
    """
    CREATE TABLE IF NOT EXISTS {deferred} (
        queue VARBINARY(1024) NOT NULL, id VARBINARY(1024) NOT NULL, due BIGINT NOT NULL,
        visible BIGINT NOT NULL, attempt INT NOT NULL, token VARBINARY(1024) NOT NULL,
        size INT UNSIGNED GENERATED ALWAYS AS (LENGTH(payload)) STORED, payload LONGBLOB NOT NULL,
        PRIMARY KEY (queue, id), KEY visible (queue, visible, id)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
    """,
    """
    CREATE TABLE IF NOT EXISTS {floor} (
        shard INT NOT NULL, version BIGINT NOT NULL, PRIMARY KEY (shard)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
    """,
    """
    CREATE TABLE IF NOT EXISTS {layout} (
        id INT NOT NULL, layout INT NOT NULL, key_set VARBINARY(256) NOT NULL,
        deferred VARBINARY(256) NOT NULL, PRIMARY KEY (id)
    ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
    """,
)
ADDED_INDEXES = {
    "expires(expires)": "ALTER TABLE {key_value} ADD KEY expires (expires)",
    "visible(queue,visible,id)": "ALTER TABLE {deferred} ADD KEY visible (queue, visible, id)",
}
DUPLICATE_INDEX = 1061


@frozen
class Found:
    """What a database holds of ours.

    Attributes:
        layout: its layout; 0 where there is none.
        tables: those that are not there.
        indexes: those that are not there, of tables that are.
    """

    layout: int
    tables: tuple[str, ...]
    indexes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether `create` would have nothing to do."""
        return self.layout == LAYOUT and not self.tables and not self.indexes

    def phrases(self) -> Sequence[str]:
        """What `create` would do, for people."""
        newer = self.layout < LAYOUT and not self.tables
        return (
            *(f"table {name}" for name in self.tables),
            *(f"index {name}" for name in self.indexes),
            *((f"layout {LAYOUT} in place of {self.layout}",) if newer else ()),
        )


def inspect(connection: Connection, names: Names) -> Found:
    """Looks at the database, and changes nothing.

    Raises:
        ConfigError: a table of our name is another's, or a newer statekeep wrote it.
    """
    where = connection.where
    tables = {each: str(getattr(names, each)) for each in COLUMNS}
    wanted = ",".join(map(quoted, tables.values()))
    of_ours = f"WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME IN ({wanted})"
    kinds, columns, indexes = (
        result.rows
        for result in connection.run((
            f"SELECT TABLE_NAME,TABLE_TYPE,ENGINE FROM information_schema.TABLES {of_ours}",  # noqa: S608
            "SELECT TABLE_NAME,COLUMN_NAME,COLUMN_TYPE,IS_NULLABLE,EXTRA "  # noqa: S608
            f"FROM information_schema.COLUMNS {of_ours} ORDER BY TABLE_NAME,ORDINAL_POSITION",
            "SELECT TABLE_NAME,INDEX_NAME,COLUMN_NAME "  # noqa: S608
            f"FROM information_schema.STATISTICS {of_ours} "
            "ORDER BY TABLE_NAME,INDEX_NAME,SEQ_IN_INDEX",
        ))
    )  # fmt: skip
    # Where lower_case_table_names is set, the server has its own spelling.
    there = {_folded(name): (kind, engine) for name, kind, engine in kinds}
    missing = tuple(name for name in tables.values() if _folded(name) not in there)
    added: list[str] = []
    for each, name in tables.items():
        if name in missing:
            continue
        found = [_column(*row) for table, *row in columns if _folded(table) == _folded(name)]
        keys = _indexes((row[1], row[2]) for row in indexes if _folded(row[0]) == _folded(name))
        primary = INDEXES[each][0]
        alien = there[_folded(name)] != ("BASE TABLE", "InnoDB")
        if alien or tuple(found) != COLUMNS[each] or primary not in keys:
            raise ConfigError(
                f"{where}: {name!r} is there and is not statekeep's (its columns: "
                f"{', '.join(found) or 'none'}; indexes: {', '.join(keys) or 'none'}; statekeep's "
                f"would be, in InnoDB: {', '.join(COLUMNS[each])}; {', '.join(INDEXES[each])}): "
                "choose another name or database; it was not changed"
            )
        added += [index for index in INDEXES[each] if index not in keys]
    layout = 0 if names.layout in missing else _layout(connection, names, where)
    return Found(layout, missing, tuple(added))


def create(connection: Connection, names: Names) -> None:
    """Creates what is missing. Each step may be repeated, and raced by other processes.

    MySQL commits every CREATE by itself: the row that says which layout it is comes last.

    Raises:
        AccessDenied: the user may not; the message says what to grant.
    """
    found = inspect(connection, names)
    if found.complete:
        return
    filled_in = {each: quote(getattr(names, each)) for each in COLUMNS}
    try:
        for step in STEPS[found.layout if found.layout < LAYOUT else 0 :]:
            for statement in step:
                connection.run((statement.format(**filled_in),))
        for index in found.indexes:
            _add_index(connection, ADDED_INDEXES[index].format(**filled_in))
        recorded = f"(1,{LAYOUT},{quoted(names.key_set)},{quoted(names.deferred)})"
        connection.run(
            (
                f"INSERT INTO {names.layout_table} (id,layout,key_set,deferred) VALUES {recorded} "  # noqa: S608
                "ON DUPLICATE KEY UPDATE layout=VALUES(layout)",
            ),
            writes=True,
        )
    except AccessDenied as error:
        raise AccessDenied(
            f"{error}. To be created: {', '.join(found.phrases())}. Either GRANT CREATE, INDEX, "
            f"SELECT, INSERT, UPDATE, DELETE ON {quote(names.database)}.* to the user, or let an "
            "administrator run `setup()` once"
        ) from error
    inspect(connection, names)  # another process may have created other tables meanwhile


def _add_index(connection: Connection, statement: str) -> None:
    try:
        connection.run((statement,))
    except StorageError as error:
        if code(error) != DUPLICATE_INDEX:  # another process added it in the same moment
            raise


STEPS = (TABLES,)
"""Step n leads from layout n - 1 to n. Each may be repeated: it creates what is missing."""


def _folded(name: object) -> str:
    return str(name).lower()


def _column(name: str, kind: object, nullable: str, extra: str) -> str:
    """As in `COLUMNS`; MySQL 8 has dropped the display width that MariaDB says of integers."""
    plain = re.sub(r"int\(\d+\)", "int", str(kind).lower())
    generated = " stored" if "STORED" in str(extra).upper() else ""
    return f"{name} {plain}{generated}{' not null' if nullable == 'NO' else ''}"


def _indexes(rows: Iterable[tuple[str, str]]) -> list[str]:
    found: dict[str, list[str]] = {}
    for name, column in rows:
        found.setdefault(name, []).append(column)
    return [f"{name}({','.join(columns)})" for name, columns in found.items()]


def _layout(connection: Connection, names: Names, where: str) -> int:
    statement = f"SELECT layout,key_set,deferred FROM {names.layout_table} WHERE id=1"  # noqa: S608
    rows = connection.run((statement,))[0].rows
    if not rows:
        return 0
    layout, *others = rows[0]
    key_set, deferred = (name.decode() for name in others)
    if (key_set, deferred) != (names.key_set, names.deferred):
        raise ConfigError(
            f"{where}: the table {names.key_value!r} belongs together with {key_set!r} and "
            f"{deferred!r}, not with {names.key_set!r} and {names.deferred!r}: correct "
            "key_value_table, key_set_table and deferred_table"
        )
    if layout > LAYOUT:
        raise ConfigError(
            f"{where}: the tables have layout {layout}, this version of statekeep-mysql knows "
            f"{LAYOUT}: upgrade it: pip install --upgrade statekeep-mysql"
        )
    return int(layout)
