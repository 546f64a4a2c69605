"""A Galera cluster of MariaDB servers on this machine."""

from __future__ import annotations

from tests.servers.mysql import SAFE, MysqlProcess, eventually
from tests.servers.ports import free_ports

PROVIDER = "/usr/lib/galera/libgalera_smm.so"
"""Where Debian's package galera-4 keeps it."""

ATTEMPTS = 3
"""How often a cluster is put together; each node needs four ports, one of them for rsync."""


class GaleraCluster:
    """Nodes that each hold everything.

    Args:
        nodes: how many.
        options: of all nodes; addresses and the provider's timers are this class's own.
    """

    def __init__(self, nodes: int = 3, options: dict[str, str] | None = None) -> None:
        self._shared = options or {}
        self.nodes: list[MysqlProcess] = []
        for left in reversed(range(ATTEMPTS)):
            try:
                self._build(nodes)
                return
            except AssertionError:  # such as a port that was taken meanwhile
                self.close()
                if not left:
                    raise

    def _build(self, nodes: int) -> None:
        self.nodes.clear()
        try:
            first = MysqlProcess(SAFE)
            first.stop()
            self.nodes.append(first)
            self.nodes += [
                MysqlProcess(SAFE, template=first.data, start=False) for _ in range(nodes - 1)
            ]
            for node in self.nodes[1:]:
                (node.data / "auto.cnf").unlink(missing_ok=True)
            ports = free_ports(3 * nodes)
            self._group = ports[:nodes]
            for number, node in enumerate(self.nodes):
                own = self._options(number, ports[nodes + 2 * number :])
                node.options |= {**self._shared, **own}
            first.start("--wsrep-new-cluster")
            for node in self.nodes[1:]:
                node.start()
            eventually(lambda: all(self.size(node) == nodes for node in self.nodes), "a cluster")
        except BaseException:
            self.close()
            raise

    def _options(self, number: int, ports: list[int]) -> dict[str, str]:
        own_port = self._group[number]
        settings = (
            f"gmcast.listen_addr=tcp://127.0.0.1:{own_port};base_port={own_port};"
            f"ist.recv_addr=127.0.0.1:{ports[0]};evs.suspect_timeout=PT2S;"
            "evs.inactive_timeout=PT4S;"
            "evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;gcache.size=16M"
        )
        return {
            "wsrep_on": "ON",
            "wsrep_provider": PROVIDER,
            "wsrep_cluster_name": "statekeep",
            "wsrep_cluster_address": "gcomm://"
            + ",".join(f"127.0.0.1:{port}" for port in self._group),
            "wsrep_node_address": f"127.0.0.1:{own_port}",
            "wsrep_node_name": f"node{number}",
            "wsrep_provider_options": settings,
            "wsrep_sst_method": "rsync",
            "wsrep_sst_receive_address": f"127.0.0.1:{ports[1]}",
            "binlog_format": "ROW",
            "innodb_autoinc_lock_mode": "2",
        }

    @staticmethod
    def size(node: MysqlProcess) -> int:
        """How many nodes it sees; 0 while it is not in sync."""
        status = dict(node.sql("SHOW GLOBAL STATUS LIKE 'wsrep_%'"))
        ready = status["wsrep_ready"] == "ON" and status["wsrep_cluster_status"] == "Primary"
        return int(status["wsrep_cluster_size"]) if ready else 0

    @property
    def hosts(self) -> str:
        """All nodes, as the option `host` lists them."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def close(self) -> None:
        """Ends all nodes."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> GaleraCluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
