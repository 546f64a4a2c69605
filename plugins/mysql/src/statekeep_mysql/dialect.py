"""Where MySQL and MariaDB differ. The server says in its greeting which of the two it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

LEAST_MYSQL = (8, 0, 1)
"""The first with SKIP LOCKED and window functions
(https://dev.mysql.com/doc/refman/8.0/en/innodb-locking-reads.html)."""

LEAST_MARIADB = (10, 6)
"""The first with SKIP LOCKED (https://mariadb.com/kb/en/select/, "SKIP LOCKED")."""


def is_mariadb(greeting: str) -> bool:
    """Whether a server's greeting is MariaDB's."""
    return "mariadb" in greeting.lower()


def version(greeting: str) -> tuple[int, ...]:
    """The version in a server's greeting; MariaDB before 11 puts another in front of its own."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", greeting.removeprefix("5.5.5-"))
    return tuple(int(part) for part in found.groups() if part) if found else ()


def too_old(greeting: str) -> str | None:
    """What is wrong with the server's version, or None."""
    least = LEAST_MARIADB if is_mariadb(greeting) else LEAST_MYSQL
    if version(greeting) >= least:
        return None
    return "needs MariaDB 10.6 or MySQL 8.0 or newer (SELECT ... SKIP LOCKED)"


def settings(greeting: str, statement_timeout: int) -> Sequence[str]:
    """Session variables that only one of the two has.

    Args:
        greeting: the server's.
        statement_timeout: milliseconds; 0 for never.
    """
    if is_mariadb(greeting):
        return (
            # Seconds, any statement: https://mariadb.com/kb/en/server-system-variables/
            f"max_statement_time={statement_timeout / 1000:.3f}",
            # Long lists stay lists: as subqueries they could read, and lock, the whole table.
            # https://mariadb.com/kb/en/conversion-of-big-in-predicates-into-subqueries/
            "in_predicate_conversion_threshold=0",
            # And ranges of the index: https://mariadb.com/kb/en/optimizer_max_sel_arg_weight/
            "optimizer_max_sel_arg_weight=0",
        )
    return (
        # Milliseconds, SELECT only:
        # https://dev.mysql.com/doc/refman/8.0/en/server-system-variables.html
        f"max_execution_time={statement_timeout}",
        # Long lists stay ranges of the index instead of reading, and locking, the whole table.
        # https://dev.mysql.com/doc/refman/8.0/en/range-optimization.html
        "range_optimizer_max_mem_size=0",
    )
