"""A MariaDB primary and its replica, with a line between them that a test may cut."""

from __future__ import annotations

from tests.servers.mysql import SAFE, MysqlProcess, eventually
from tests.servers.proxy import Proxy

ALONE = {"rpl_semi_sync_master_enabled": "OFF"}


class MysqlReplication:
    """Two servers, the second of which follows the first.

    Args:
        primary: options of the first, beside those of `SAFE`.
        replica: of the second.
        follow: the statement that names the primary, with `{port}` for its port.
        user: statements that make the user who replicates.
    """

    def __init__(
        self, primary: dict[str, str], replica: dict[str, str], follow: str, user: list[str]
    ) -> None:
        # Alone, a primary that waits for replicas would wait with its first users already.
        self.primary = MysqlProcess({**SAFE, **primary, **ALONE})
        self.line = Proxy(self.primary.address)
        self._replica: MysqlProcess | None = None
        try:
            for statement in user:
                self.primary.sql(statement)
            ((position,),) = self.primary.sql("SELECT @@gtid_current_pos")
            self.primary.stop()
            self.primary.options |= primary
            self._replica = MysqlProcess({**SAFE, **replica}, template=self.primary.data)
            self.primary.start()
            self.replica.sql(f"SET GLOBAL gtid_slave_pos = '{position}'")
            self.replica.sql(follow.format(port=self.line.port))
            self.replica.sql("START SLAVE")
            eventually(self.in_sync, "replication")
        except BaseException:
            self.close()
            raise

    @property
    def replica(self) -> MysqlProcess:
        """The second server."""
        assert self._replica is not None
        return self._replica

    def in_sync(self) -> bool:
        """Whether the replica has all that the primary's log has."""
        ((position,),) = self.primary.sql("SELECT @@gtid_binlog_pos")
        ((found,),) = self.replica.sql("SELECT @@gtid_slave_pos")
        return bool(position == found)

    def close(self) -> None:
        """Ends both."""
        self.line.close()
        for server in filter(None, (self.primary, self._replica)):
            server.close()

    def __enter__(self) -> MysqlReplication:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
