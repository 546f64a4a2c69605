"""Which rights the user needs, found out by having the server explain what would need them.

EXPLAIN takes the same rights as the statement, and runs nothing:
https://mariadb.com/kb/en/explain/ and https://dev.mysql.com/doc/refman/8.0/en/explain.html
So roles, wildcards and rights on single columns count as the server counts them.
"""

from __future__ import annotations

from collections.abc import Iterator

from statekeep.errors import AccessDenied
from statekeep.examining import good, problem
from statekeep.findings import Finding

from statekeep_mysql.driver import Connection
from statekeep_mysql.names import Names, quote

STATEMENTS = {
    "SELECT": "SELECT 1 FROM {table} WHERE {column}=0 LIMIT 1",
    "INSERT": "INSERT INTO {table} ({columns}) SELECT {zeros} FROM DUAL WHERE 0",
    "UPDATE": "UPDATE {table} SET {column}=0 WHERE 0",
    "DELETE": "DELETE FROM {table} WHERE 0",
}
ALL = tuple(STATEMENTS)

NEEDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "key_value": ("version,`key`,value", ALL),
    "key_set": ("member,`key`", ALL),
    "deferred": ("attempt,queue,id,due,visible,token,payload", ALL),
    "floor": ("version,shard", ("SELECT", "INSERT", "UPDATE")),
    "layout": ("layout", ("SELECT",)),
}
"""Of each table the columns that have no default, and what this package does with it."""


def account(connection: Connection) -> str:
    """Whom the server takes this user for, as `GRANT` names it."""
    user, _, host = str(connection.run(("SELECT CURRENT_USER()",))[0].rows[0][0]).rpartition("@")
    return f"'{user}'@'{host}'"


def examined(connection: Connection, names: Names, there: set[str]) -> Iterator[Finding]:
    """Every right that is missing, or that none is.

    Args:
        connection: of the user.
        names: of the tables.
        there: the tables that exist, in lower case.
    """
    user = account(connection)
    lacking = False
    for each, (columns, rights) in NEEDED.items():
        name = str(getattr(names, each))
        if name.lower() not in there:
            continue
        for right in rights:
            column, *others = columns.split(",")
            statement = STATEMENTS[right].format(
                table=quote(name),
                column=column,
                columns=columns,
                zeros=",".join("0" * (1 + len(others))),
            )
            try:
                connection.run((f"EXPLAIN {statement}",))
            except AccessDenied:
                lacking = True
                place = f"{quote(names.database)}.{quote(name)}"
                yield problem(
                    "rights",
                    f"the user {user} lacks {right} on {place}",
                    "calls that need it are refused with AccessDenied",
                    f"GRANT {right} ON {place} TO {user};",
                )
    if not lacking:
        yield good("rights", f"the user {user} has all that it needs")
