"""The tables, the steps that lead to them, and whether those in a schema are ours."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from attrs import frozen
from statekeep.errors import AccessDenied, ConfigError

from statekeep_postgres.driver import Connection
from statekeep_postgres.functions import COMMIT, KEEP_FLOOR, TRIGGER, filled_in
from statekeep_postgres.names import Names, literal, quote
from statekeep_postgres.wire import Statement

LAYOUT = 1
"""The layout that this version writes. A change adds a step and raises it."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "key_value": ("key text C not null", "version bigint not null", "expires bigint",
                  "value bytea not null"),
    "key_set": ("key text C not null", "member bytea not null"),
    "deferred": ("queue text C not null", "id text C not null", "due bigint not null",
                 "visible bigint not null", "attempt integer not null", "token text C not null",
                 "payload bytea not null"),
    "floor": ("shard integer not null", "version bigint not null"),
    "layout": ("layout integer not null", "key_set text C not null", "deferred text C not null"),
}  # fmt: skip
"""What each table must look like: name, type, collation."""

KEYS = {"key_value": "key", "key_set": "key,member", "deferred": "queue,id", "floor": "shard"}
"""The primary keys."""

# The value comes last: fixed-size columns before it are found without reading it. Members are
# looked for with their key only, so one index serves sets, their pages and their scan.
TABLES = """
CREATE TABLE IF NOT EXISTS {layout} (
    layout integer NOT NULL, key_set text COLLATE "C" NOT NULL, deferred text COLLATE "C" NOT NULL
);
CREATE TABLE IF NOT EXISTS {key_value} (
    key text COLLATE "C" NOT NULL PRIMARY KEY, version bigint NOT NULL, expires bigint,
    value bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS {key_set} (
    key text COLLATE "C" NOT NULL, member bytea NOT NULL, PRIMARY KEY (key, member)
);
CREATE TABLE IF NOT EXISTS {deferred} (
    queue text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, due bigint NOT NULL,
    visible bigint NOT NULL, attempt integer NOT NULL, token text COLLATE "C" NOT NULL,
    payload bytea NOT NULL, PRIMARY KEY (queue, id)
);
CREATE TABLE IF NOT EXISTS {floor} (
    shard integer NOT NULL PRIMARY KEY, version bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS {expires_index} ON {key_value} (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS {visible_index} ON {deferred} (queue, visible, id);
"""

FOUND = Statement(
    """
    SELECT c.relname::text, c.relkind::text,
        (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
                (SELECT nullif(l.collname, 'default') FROM pg_collation l
                    WHERE l.oid = a.attcollation),
                CASE WHEN a.attnotnull THEN 'not null' END), ', ' ORDER BY a.attnum)
            FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT string_agg(a.attname, ',' ORDER BY array_position(i.indkey::int2[], a.attnum))
            FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
            WHERE i.indrelid = c.oid AND i.indisprimary)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = ANY ($2)
    UNION ALL
    SELECT p.proname::text, 'function', '', NULL
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.proname = ANY ($2)
    UNION ALL
    SELECT t.tgname::text, 'trigger', '', NULL
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = ANY ($2) AND t.tgname = ANY ($2)
    UNION ALL
    SELECT nspname::text, 'schema', '', NULL FROM pg_namespace WHERE nspname = $1
    """,
    ("text", "text[]"),
    ("text", "text", "text", "text"),
)


@frozen
class Found:
    """What a schema holds of ours.

    Attributes:
        layout: its layout; 0 where there is none.
        missing: what is not there, one phrase each.
    """

    layout: int
    missing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether `create` would have nothing to do."""
        return self.layout == LAYOUT and not self.missing

    def phrases(self) -> Sequence[str]:
        """What `create` would do, for people."""
        newer = 0 < self.layout < LAYOUT
        return (*self.missing, *((f"layout {LAYOUT} in place of {self.layout}",) if newer else ()))


def inspect(connection: Connection, names: Names) -> Found:
    """Looks at the schema, and changes nothing.

    Raises:
        ConfigError: a table of our name is another's, or a newer statekeep wrote it.
    """
    where = f"{connection.where}, schema {names.schema!r}"
    tables = {each: getattr(names, each) for each in COLUMNS}
    besides = {
        f"index {names.expires_index}": (names.expires_index, "i"),
        f"index {names.visible_index}": (names.visible_index, "i"),
        f"function {names.commit}": (names.commit, "function"),
        f"function {names.keep_floor}": (names.keep_floor, "function"),
        f"trigger {names.keep_floor}": (names.keep_floor, "trigger"),
    }
    wanted = [*tables.values(), *(name for name, _ in besides.values())]
    rows = connection.run(FOUND, names.schema, wanted)
    there = {(name, kind) for name, kind, _, _ in rows}
    relations = {
        name: row for name, *row in rows if row[0] not in ("function", "trigger", "schema")
    }
    missing = [] if (names.schema, "schema") in there else [f"schema {names.schema}"]
    for each, name in tables.items():
        if name in relations:
            _refuse_foreign(where, each, name, *relations[name])
        else:
            missing.append(f"table {name}")
    missing += [phrase for phrase, found in besides.items() if found not in there]
    return Found(_layout(connection, names, where) if names.layout in relations else 0,
                 tuple(missing))  # fmt: skip


def create(connection: Connection, names: Names) -> None:
    """Creates what is missing, in one transaction, so that of several processes one does it.

    Raises:
        AccessDenied: the user may not; the message says what to grant.
    """
    lock = zlib.crc32(f"statekeep {names.schema}".encode())
    connection.script(f"BEGIN; SELECT pg_advisory_xact_lock({lock})")
    found = inspect(connection, names)
    if not found.complete:
        try:
            for statement in _statements(names, found):
                connection.script(statement)
        except AccessDenied as error:
            raise AccessDenied(
                f"{error}. To be created: {', '.join(found.phrases())}. Either "
                f"GRANT CREATE ON DATABASE (for the schema) and GRANT USAGE, CREATE ON SCHEMA "
                f"{quote(names.schema)} to the user, or let an administrator run `setup()` once"
            ) from error
    connection.script("COMMIT", writes=True)


def _statements(names: Names, found: Found) -> Sequence[str]:
    # A schema of the present layout that lost an index gets it again: steps can be repeated.
    schema = f"schema {names.schema}" in found.missing
    recorded = (
        f"DELETE FROM {names.q(names.layout)};"  # noqa: S608  # quoted
        f" INSERT INTO {names.q(names.layout)} VALUES "
        f"({LAYOUT}, {literal(names.key_set)}, {literal(names.deferred)})"
    )
    return (
        *((f"CREATE SCHEMA {quote(names.schema)}",) if schema else ()),
        *(step for steps in STEPS[found.layout if found.layout < LAYOUT else 0 :]
          for step in steps(names)),
        recorded,
    )  # fmt: skip


def _first(names: Names) -> Sequence[str]:
    drop = f"DROP TRIGGER IF EXISTS {quote(names.keep_floor)} ON {names.q(names.key_value)}"
    tables = TABLES.format(
        **{each: names.q(getattr(names, each)) for each in COLUMNS},
        expires_index=quote(names.expires_index),
        visible_index=quote(names.visible_index),
    )
    functions = (filled_in(sql, names) for sql in (COMMIT, KEEP_FLOOR))
    return (tables, *functions, drop, filled_in(TRIGGER, names))


STEPS = (_first,)
"""Step n leads from layout n - 1 to n. Each may be repeated: it creates what is missing."""


def _layout(connection: Connection, names: Names, where: str) -> int:
    statement = Statement(
        f"SELECT layout, key_set, deferred FROM {names.q(names.layout)}",  # noqa: S608  # quoted
        (),
        ("int4", "text", "text"),
    )
    rows = connection.run(statement)
    if not rows:
        return 0
    layout, key_set, deferred = rows[0]
    if (key_set, deferred) != (names.key_set, names.deferred):
        raise ConfigError(
            f"{where}: the table {names.key_value!r} belongs together with {key_set!r} and "
            f"{deferred!r}, not with {names.key_set!r} and {names.deferred!r}: correct "
            "key_value_table, key_set_table and deferred_table"
        )
    if layout > LAYOUT:
        raise ConfigError(
            f"{where}: the tables have layout {layout}, this version of statekeep-postgres knows "
            f"{LAYOUT}: upgrade it: pip install --upgrade statekeep-postgres"
        )
    return int(layout)


def _refuse_foreign(
    where: str, each: str, name: str, kind: str, columns: str | None, key: str | None
) -> None:
    wanted = ", ".join(COLUMNS[each])
    if kind not in ("r", "p") or columns != wanted or key != KEYS.get(each):
        raise ConfigError(
            f"{where}: {name!r} is there and is not statekeep's (its columns: "
            f"{columns or 'none'}; primary key: {key or 'none'}; statekeep's would be: {wanted}; "
            f"{KEYS.get(each, 'none')}): choose another name or schema; it was not changed"
        )
