"""The statements of one storage: built once, prepared on each connection when first used."""

from __future__ import annotations

from attrs import field, frozen
from statekeep.clock import MAX_MICROS

from statekeep_postgres.functions import COMMIT_GIVES, COMMIT_TAKES, STATEMENT_NOW
from statekeep_postgres.names import Names, literal
from statekeep_postgres.wire import Statement

LIVE = f"(expires IS NULL OR expires > {STATEMENT_NOW})"
MESSAGE = ("text", "text", "int8", "bytea", "text", "int4", "int8")
COLUMNS = "queue, id, due, payload, token, attempt, visible"

PAGE_BYTES = 4 * 2**20
"""A page of values or payloads ends behind the record that reaches this."""


@frozen(eq=False)
class Statements:
    """What the backend says to the server. All names in them are quoted."""

    names: Names
    get: Statement = field(init=False)
    get_many: Statement = field(init=False)
    members: Statement = field(init=False)
    members_page: Statement = field(init=False)
    contains: Statement = field(init=False)
    messages_many: Statement = field(init=False)
    claim: Statement = field(init=False)
    put: Statement = field(init=False)
    put_for: Statement = field(init=False)
    updates: Statement = field(init=False)
    commit: Statement = field(init=False)
    purge: Statement = field(init=False)
    stats: Statement = field(init=False)

    # S608 below: what is put into SQL are the quoted names and constants of this package.

    @get.default
    def _get(self) -> Statement:
        return Statement(
            f"SELECT version, expires, value FROM {self.key_value} WHERE key = $1 AND {LIVE}",  # noqa: S608
            ("text",),
            ("int8", "int8", "bytea"),
        )

    @get_many.default
    def _get_many(self) -> Statement:
        return Statement(
            f"SELECT key, version, expires, value FROM {self.key_value} "  # noqa: S608
            f"WHERE key = ANY ($1) AND {LIVE}",
            ("text[]",),
            ("text", "int8", "int8", "bytea"),
        )

    @members.default
    def _members(self) -> Statement:
        return Statement(
            f"SELECT key, member FROM {self.key_set} WHERE key = ANY ($1)",  # noqa: S608
            ("text[]",),
            ("text", "bytea"),
        )

    @members_page.default
    def _members_page(self) -> Statement:
        return Statement(
            f"SELECT member FROM {self.key_set} WHERE key = $1 AND member > $2 "  # noqa: S608
            "ORDER BY member LIMIT $3",
            ("text", "bytea", "int8"),
            ("bytea",),
        )

    @contains.default
    def _contains(self) -> Statement:
        return Statement(
            f"SELECT member FROM {self.key_set} WHERE key = $1 AND member = ANY ($2)",  # noqa: S608
            ("text", "bytea[]"),
            ("bytea",),
        )

    @messages_many.default
    def _messages_many(self) -> Statement:
        return Statement(
            f"SELECT {COLUMNS} FROM {self.deferred} "  # noqa: S608
            "JOIN unnest($1, $2) AS wanted (queue, id) USING (queue, id)",
            ("text[]", "text[]"),
            MESSAGE,
        )

    @claim.default
    def _claim(self) -> Statement:
        return Statement(
            f"""
            WITH due AS MATERIALIZED (
                SELECT queue, id, visible FROM {self.deferred}
                WHERE queue = $1 AND visible <= {STATEMENT_NOW}
                ORDER BY visible, id LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            UPDATE {self.deferred} AS m SET
                token = gen_random_uuid()::text,
                attempt = m.attempt + 1,
                visible = least({STATEMENT_NOW} + $3, {MAX_MICROS})
            FROM due WHERE m.queue = due.queue AND m.id = due.id
            RETURNING m.queue, m.id, m.due, m.payload, m.token, m.attempt, m.visible, due.visible
            """,  # noqa: S608
            ("text", "int8", "int8"),
            (*MESSAGE, "int8"),
        )

    @put.default
    def _put(self) -> Statement:
        return self._update("NULL", ())

    @put_for.default
    def _put_for(self) -> Statement:
        return self._update(f"least({STATEMENT_NOW} + $4, {MAX_MICROS})", ("int8",))

    def _update(self, expires: str, more: tuple[str, ...]) -> Statement:
        # An update that waited for another one looks at the row again, so nothing is lost.
        return Statement(
            f"UPDATE {self.key_value} SET version = version + 1, value = $3, expires = {expires} "  # noqa: S608
            f"WHERE key = $1 AND ($2 IS NULL OR version = $2) AND {LIVE} RETURNING version",
            ("text", "int8", "bytea", *more),
            ("int8",),
        )

    @updates.default
    def _updates(self) -> Statement:
        # Locked in the order that the function of `commit` locks in, so that no two of either kind
        # ever wait for each other. Who waited for a lock compares the version again.
        return Statement(
            f"""
            WITH held AS MATERIALIZED (
                SELECT v.key, i.value
                FROM unnest($1, $2, $3) AS i (key, expected, value)
                JOIN {self.key_value} v ON v.key = i.key AND v.version = i.expected
                WHERE {LIVE} ORDER BY v.key COLLATE "C" FOR UPDATE OF v
            )
            UPDATE {self.key_value} v SET version = version + 1, value = held.value, expires = NULL
            FROM held WHERE v.key = held.key RETURNING v.key, v.version
            """,  # noqa: S608
            ("text[]", "int8[]", "bytea[]"),
            ("text", "int8"),
        )

    @commit.default
    def _commit(self) -> Statement:
        marks = ", ".join(f"${number}" for number in range(1, len(COMMIT_TAKES) + 1))
        function = self.names.q(self.names.commit)
        return Statement(
            f"SELECT what, item, result FROM {function}({marks})",  # noqa: S608
            COMMIT_TAKES,
            COMMIT_GIVES,
        )

    @purge.default
    def _purge(self) -> Statement:
        return Statement(
            f"""
            WITH gone AS MATERIALIZED (
                SELECT key FROM {self.key_value}
                WHERE expires IS NOT NULL AND expires <= {STATEMENT_NOW}
                ORDER BY expires LIMIT $1 FOR UPDATE SKIP LOCKED
            ), deleted AS (
                DELETE FROM {self.key_value} v USING gone WHERE v.key = gone.key RETURNING 1
            )
            SELECT count(*) FROM deleted
            """,  # noqa: S608
            ("int8",),
            ("int8",),
        )

    @stats.default
    def _stats(self) -> Statement:
        sizes = " + ".join(
            f"pg_total_relation_size({literal(self.names.q(name))}::regclass)"
            for name in (self.names.key_value, self.names.key_set, self.names.deferred)
        )
        return Statement(
            f"""
            SELECT v.n, v.b, s.n, s.b, d.n, d.b, {sizes} FROM
                (SELECT count(*) n, coalesce(sum(octet_length(value)), 0)::bigint b
                    FROM {self.key_value}) v,
                (SELECT count(DISTINCT key) n, coalesce(sum(octet_length(member)), 0)::bigint b
                    FROM {self.key_set}) s,
                (SELECT count(*) n, coalesce(sum(octet_length(payload)), 0)::bigint b
                    FROM {self.deferred}) d
            """,  # noqa: S608
            (),
            ("int8",) * 7,
        )

    @property
    def key_value(self) -> str:
        """The table of values, quoted."""
        return self.names.q(self.names.key_value)

    @property
    def key_set(self) -> str:
        """The table of sets, quoted."""
        return self.names.q(self.names.key_set)

    @property
    def deferred(self) -> str:
        """The table of messages, quoted."""
        return self.names.q(self.names.deferred)
