"""What the backend says to the server to read, to claim, and to put a single value."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from statekeep_mysql.literals import LIVE, NOW, among, data, later, lists, quoted, text
from statekeep_mysql.names import MESSAGE, Names

COLUMNS = "queue,id,due,payload,token,attempt,visible"

SNAPSHOT = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
"""Before several statements that see one instant."""

# S608 below: what is put into SQL are quoted names, numbers, hexadecimal bytes and constants.


@frozen(eq=False)
class Statements:
    """SQL with the names of one storage; what does not change of it is built once."""

    names: Names
    visible_index: str = "visible"
    expires_index: str = "expires"
    _get: str = field(init=False)
    _put: str = field(init=False)

    @_get.default
    def _make_get(self) -> str:
        table = self.names.key_value_table
        return f"SELECT version,expires,value FROM {table} WHERE {LIVE} AND `key`="  # noqa: S608

    @_put.default
    def _make_put(self) -> str:
        return f"UPDATE {self.names.key_value_table} SET version=version+1,expires="  # noqa: S608

    def get(self, key: str) -> str:
        """The row of one key."""
        return self._get + text(key)

    def get_many(self, keys: Sequence[str]) -> list[str]:
        """The rows of many keys."""
        return [
            f"SELECT `key`,version,expires,value FROM {self.names.key_value_table} "  # noqa: S608
            f"FORCE INDEX (PRIMARY) WHERE `key` IN ({some}) AND {LIVE}"
            for some in lists(map(text, keys))
        ]

    def members_many(self, keys: Sequence[str]) -> list[str]:
        """All members of many sets."""
        return [
            f"SELECT `key`,member FROM {self.names.key_set_table} FORCE INDEX (PRIMARY) "  # noqa: S608
            f"WHERE `key` IN ({some})"
            for some in lists(map(text, keys))
        ]

    def members(self, key: str, behind: bytes, limit: int) -> str:
        """A page of a set."""
        return (
            f"SELECT member FROM {self.names.key_set_table} "  # noqa: S608
            f"WHERE `key`={text(key)} AND member>{data(behind)} ORDER BY member LIMIT {limit}"
        )

    def contains(self, key: str, members: Sequence[bytes]) -> list[str]:
        """Those of the members that are in the set."""
        return [
            f"SELECT member FROM {self.names.key_set_table} FORCE INDEX (PRIMARY) "  # noqa: S608
            f"WHERE `key`={text(key)} AND member IN ({some})"
            for some in lists(map(data, members))
        ]

    def messages_many(self, names: Sequence[tuple[str, str]]) -> list[str]:
        """The rows of many messages."""
        wanted = ((text(queue), text(id)) for queue, id in names)
        return [
            f"SELECT {COLUMNS} FROM {self.names.deferred_table} FORCE INDEX (PRIMARY) "  # noqa: S608
            f"WHERE {these}"
            for these, _ in among(MESSAGE, wanted)
        ]

    def put(self, key: str, expected: int, value: bytes, ttl: int | None) -> str:
        """Updates a value of a known version; without effect where it has another one."""
        expires = "NULL" if ttl is None else later(ttl)
        return (
            f"{self._put}{expires},value={data(value)} "
            f"WHERE `key`={text(key)} AND version={expected} AND {LIVE}"
        )

    def claim(self, queue: str, limit: int, lease: int, token: str) -> tuple[str, ...]:
        """Claims messages, with a token that begins with the given one, and reads them.

        The token ends with the time since which the message could be claimed: their order. The
        second statement finds what the first one changed by its new `visible`, which is theirs
        alone up to the microsecond, and by the token.
        """
        table, name = self.names.deferred_table, text(queue)
        return (
            f"SET @visible={later(lease)}",
            # SKIP LOCKED within the derived table: https://mariadb.com/kb/en/select/ and
            # https://dev.mysql.com/doc/refman/8.0/en/innodb-locking-reads.html
            # The other way round the server would lock every message of the queue, and wait.
            f"UPDATE (SELECT queue,id,visible FROM {table} "  # noqa: S608
            f"FORCE INDEX ({self.visible_index}) WHERE queue={name} AND visible<={NOW} "
            f"ORDER BY visible,id LIMIT {limit} FOR UPDATE SKIP LOCKED) AS d "
            f"STRAIGHT_JOIN {table} AS m FORCE INDEX (PRIMARY) "
            "ON m.queue=d.queue AND m.id=d.id SET "
            f"m.token=CONCAT('{token}.',UUID_SHORT(),'.',d.visible),"
            "m.attempt=m.attempt+1,m.visible=@visible",
            f"SELECT {COLUMNS} FROM {table} FORCE INDEX ({self.visible_index}) "  # noqa: S608
            f"WHERE queue={name} AND visible=@visible AND token LIKE '{token}.%'",
        )

    def expired(self, limit: int) -> str:
        """Locks expired values."""
        return (
            f"SELECT `key`,version FROM {self.names.key_value_table} "  # noqa: S608
            f"FORCE INDEX ({self.expires_index}) WHERE expires<={NOW} ORDER BY expires "
            f"LIMIT {limit} FOR UPDATE SKIP LOCKED"
        )

    def stats(self) -> tuple[str, ...]:
        """How much there is, of each kind and in all."""
        n = self.names
        tables = ",".join(map(quoted, (n.key_value, n.key_set, n.deferred, n.floor)))
        return (
            f"SELECT COUNT(*),COALESCE(SUM(size),0) FROM {n.key_value_table}",  # noqa: S608
            "SELECT COUNT(DISTINCT `key`),COALESCE(SUM(LENGTH(member)),0) "  # noqa: S608
            f"FROM {n.key_set_table}",
            f"SELECT COUNT(*),COALESCE(SUM(size),0) FROM {n.deferred_table}",  # noqa: S608
            "SELECT SUM(DATA_LENGTH+INDEX_LENGTH) FROM information_schema.TABLES "  # noqa: S608
            f"WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME IN ({tables})",
        )
