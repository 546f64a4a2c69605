"""Which rights the user needs and whether it has them, each with the GRANT that gives it."""

from __future__ import annotations

from collections.abc import Iterator

from statekeep.examining import good, problem
from statekeep.findings import Finding

from statekeep_postgres.config import PostgresConfig
from statekeep_postgres.driver import Connection
from statekeep_postgres.names import Names, quote
from statekeep_postgres.wire import Statement

TABLE_RIGHTS = {
    "key_value": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "key_set": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "deferred": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "floor": ("SELECT", "INSERT", "UPDATE"),
    "layout": ("SELECT",),
}
"""What the statements and functions of this package do with each table."""

PLACE = Statement(
    """
    SELECT current_user::text, current_database()::text,
        has_database_privilege(current_database(), 'CREATE'),
        coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
        coalesce(has_schema_privilege(n.oid, 'CREATE'), false), n.oid IS NOT NULL
    FROM (SELECT 1) one LEFT JOIN pg_namespace n ON n.nspname = $1
    """,
    ("text",),
    ("text", "text", "bool", "bool", "bool", "bool"),
)
TABLES = Statement(
    """
    SELECT c.relname::text, r.name, has_table_privilege(c.oid, r.name)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r (name)
    WHERE n.nspname = $1 AND c.relname = ANY ($2)
    """,
    ("text", "text[]"),
    ("text", "text", "bool"),
)
FUNCTIONS = Statement(
    """
    SELECT p.proname::text, has_function_privilege(p.oid, 'EXECUTE')
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.proname = $2
    """,
    ("text", "text"),
    ("text", "bool"),
)


def examined(connection: Connection, names: Names, config: PostgresConfig) -> Iterator[Finding]:
    """Every right that is missing, or that none is."""
    ((user, database, may_add, usage, create, there),) = connection.run(PLACE, names.schema)
    schema, role = quote(names.schema), quote(user)
    tables = connection.run(TABLES, names.schema, list(names.tables))
    missing: list[tuple[str, str]] = []
    if not there and config.create and not may_add:
        missing.append(("CREATE", f"DATABASE {quote(database)}"))
    if there and not usage:
        missing.append(("USAGE", f"SCHEMA {schema}"))
    if (
        there
        and config.create
        and not create
        and len({row[0] for row in tables}) < len(names.tables)
    ):
        missing.append(("CREATE", f"SCHEMA {schema}"))
    needed = {
        (str(getattr(names, each)), right)
        for each, rights in TABLE_RIGHTS.items()
        for right in rights
    }
    for table, right, granted in tables:
        if not granted and (table, right) in needed:
            missing.append((right, names.q(table)))
    for function, granted in connection.run(FUNCTIONS, names.schema, names.commit):
        if not granted:
            missing.append(("EXECUTE", f"FUNCTION {names.q(function)}"))
    for right, place in missing:
        yield problem(
            "rights",
            f"the user {user!r} lacks {right} on {place}",
            "calls that need it are refused with AccessDenied",
            f"GRANT {right} ON {place} TO {role};",
        )
    if not missing:
        yield good("rights", f"the user {user!r} has all that it needs")
