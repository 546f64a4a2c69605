"""What a server's settings mean for the state it keeps: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from statekeep import examining
from statekeep.examining import advice, good, problem
from statekeep.findings import Finding

from statekeep_mysql.config import MysqlConfig

GLOBALS = (
    "max_connections",
    "max_user_connections",
    "max_allowed_packet",
    "innodb_flush_log_at_trx_commit",
    "innodb_flush_method",
    "innodb_doublewrite",
    "sync_binlog",
    "log_bin",
    "binlog_format",
    "read_only",
    "super_read_only",
    "wsrep_on",
)
SESSION = ("tx_isolation", "transaction_isolation", "wait_timeout", "sql_mode", "wsrep_sync_wait")
"""What each connection sets for itself: a proxy between may lose it."""

STATUS = (
    "Threads_connected",
    "Innodb_history_list_length",
    "wsrep_ready",
    "wsrep_cluster_status",
    "wsrep_cluster_size",
    "wsrep_local_state_comment",
    "wsrep_flow_control_paused",
)
LEAST_VALUE_BYTES = 4 * 2**20
"""What the contract promises of every backend."""

MUCH_HISTORY = 1_000_000
OFF = ("OFF", "0", "")
PROXY = "connect past the proxy, or have it pin sessions (no multiplexing)"


def durability(found: Mapping[str, str]) -> Iterator[Finding]:
    """Whether an acknowledged write survives the end of the server and of the machine."""
    level = found["innodb_flush_log_at_trx_commit"]
    several = found.get("wsrep_on", "OFF") not in OFF
    if level == "1":
        yield good("innodb_flush_log_at_trx_commit", level)
    else:
        yield (advice if several else problem)(
            "innodb_flush_log_at_trx_commit",
            f"{level}{', in a Galera cluster' if several else ''}",
            "about a second of acknowledged writes is lost when the machine stops"
            + (" (all nodes at once)" if several else ""),
            "SET GLOBAL innodb_flush_log_at_trx_commit = 1; and in the server's config",
        )
    method = found.get("innodb_flush_method", "").lower()
    if method in ("nosync", "littlesync"):
        yield problem(
            "innodb_flush_method",
            method,
            "nothing is forced to the disk: a stop of the machine may damage every table",
            "innodb_flush_method = O_DIRECT in the server's config, and restart",
        )
    else:
        yield good("innodb_flush_method", method)
    if found.get("innodb_doublewrite", "ON") in OFF:
        yield problem(
            "innodb_doublewrite",
            found["innodb_doublewrite"],
            "a page that is half written when the machine stops stays damaged",
            "innodb_doublewrite = ON in the server's config, and restart",
        )
    else:
        yield good("innodb_doublewrite", found.get("innodb_doublewrite", "ON"))
    yield from _binary_log(found)


def _binary_log(found: Mapping[str, str]) -> Iterator[Finding]:
    if found.get("log_bin", "OFF") in OFF:
        yield good("sync_binlog", "no binary log")
        return
    if found["sync_binlog"] == "1":
        yield good("sync_binlog", "1")
    else:
        yield advice(
            "sync_binlog",
            found["sync_binlog"],
            "after a stop of the machine replicas may have other transactions than it has",
            "SET GLOBAL sync_binlog = 1; and in the server's config",
        )
    form = found.get("binlog_format", "ROW")
    if form == "STATEMENT":
        yield problem(
            "binlog_format",
            form,
            "writes are refused with 1665: they need READ COMMITTED, which it does not allow",
            "SET GLOBAL binlog_format = 'ROW'; and in the server's config",
        )
    else:
        yield good("binlog_format", form)


def session(found: Mapping[str, str], config: MysqlConfig) -> Iterator[Finding]:
    """Whether what a connection set for itself holds."""
    isolation = found.get("transaction_isolation") or found.get("tx_isolation", "")
    if isolation == "READ-COMMITTED":
        yield good("transaction_isolation", f"{isolation}, set by each connection")
    else:
        yield problem(
            "transaction_isolation",
            f"{isolation}, though each connection sets READ COMMITTED",
            "something between changes settings: conditions may be checked on old rows",
            PROXY,
        )
    seconds, life = int(found["wait_timeout"]), config.max_lifetime / 1000
    told = f"{seconds} s, max_lifetime {life:.0f} s"
    if seconds >= life:
        yield good("wait_timeout", told)
    else:
        yield advice(
            "wait_timeout",
            told,
            "the server closes connections that the pool believes in: a write then fails",
            f"max_lifetime = {max(seconds - 60, 1) * 1000} under [storage.mysql]",
        )
    strict = "STRICT_ALL_TABLES" in found["sql_mode"]
    yield (
        good("sql_mode", "strict, set by each connection")
        if strict
        else problem(
            "sql_mode",
            f"{found['sql_mode']!r}, though each connection sets STRICT_ALL_TABLES",
            "something between changes settings: long keys may be cut silently",
            PROXY,
        )
    )


def limits(found: Mapping[str, str], config: MysqlConfig, value_bytes: int) -> Iterator[Finding]:
    """Packets, and connections against this pool.

    Args:
        found: the server's settings and status; `Threads_connected` without this pool's.
        config: what this storage is configured to want.
        value_bytes: the largest value that fits in a packet.
    """
    packet = int(found["max_allowed_packet"])
    told = f"{packet / 2**20:g} MiB: values up to {value_bytes / 2**20:.1f} MiB"
    if value_bytes < LEAST_VALUE_BYTES:
        yield problem(
            "max_allowed_packet",
            told,
            "larger ones are refused with InvalidArgument, as each byte takes two in a statement",
            "SET GLOBAL max_allowed_packet = 134217728; and in the server's config",
        )
    else:
        yield good("max_allowed_packet", told)
    yield _connections(found, config)


def _connections(found: Mapping[str, str], config: MysqlConfig) -> Finding:
    most, used = int(found["max_connections"]), int(found["Threads_connected"])
    own, pool = int(found.get("max_user_connections", "0")), config.maximum_pool_size
    usable = min(most, own) if own else most
    return examining.connections(
        "max_connections",
        f"max_connections is {most}" + (f", max_user_connections {own}" if own else ""),
        usable=usable,
        used=used,
        pool=pool,
        refusal="1040, too many connections",
        remedy=f"maximum_pool_size = {max(1, usable // 2)} under [storage.mysql], or: "
        f"SET GLOBAL max_connections = {2 * (pool + used)}; and in the server's config",
    )


def role(found: Mapping[str, str]) -> Finding:
    """Whether the server takes writes."""
    closed = [
        name for name in ("read_only", "super_read_only") if found.get(name, "OFF") not in OFF
    ]
    if not closed:
        return good("role", "it takes writes")
    return problem(
        "role",
        f"{' and '.join(closed)} set: a replica, perhaps",
        "every write is refused with 1290",
        'host = all servers, with target_server_type = "primary"; or SET GLOBAL read_only = 0;',
    )


def history(found: Mapping[str, str]) -> Finding | None:
    """How many old row versions wait to be purged; None where the server does not say."""
    length = found.get("Innodb_history_list_length")
    if length is None:
        return None
    if int(length) < MUCH_HISTORY:
        return good("history", f"{length} undo logs wait to be purged")
    return advice(
        "history",
        f"{length} undo logs wait to be purged",
        "a transaction that never ends, or a server that is too busy, keeps old row versions",
        "SELECT * FROM information_schema.INNODB_TRX ORDER BY trx_started; then KILL the oldest",
    )


def galera(found: Mapping[str, str]) -> Iterator[Finding]:
    """A node's place in its cluster; nothing where there is none."""
    if found.get("wsrep_on", "OFF") in OFF:
        return
    size = int(found["wsrep_cluster_size"])
    told = (
        f"{found['wsrep_cluster_status']}, {found['wsrep_local_state_comment']}, {size} nodes, "
        f"paused {float(found['wsrep_flow_control_paused']) * 100:.0f} % of the time"
    )
    if found["wsrep_cluster_status"] != "Primary" or found["wsrep_ready"] != "ON":
        yield problem(
            "galera",
            told,
            "the node is in a minority or joins: every call is refused with 1047",
            "start the other nodes and mend the network between; if they are lost for good: "
            "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=true'; on ONE node",
        )
    elif size < 3 or size % 2 == 0:
        yield advice(
            "galera",
            told,
            "with an even number of nodes, or fewer than three, the loss of half stops all",
            "add a node, or an arbitrator: garbd",
        )
    elif float(found["wsrep_flow_control_paused"]) > 0.1:
        yield advice(
            "galera", told, "a slow node holds all writes up", "look at each node's load and disk"
        )
    else:
        yield good("galera", told)
    if int(found.get("wsrep_sync_wait", "0")) & 1:
        yield good("wsrep_sync_wait", f"{found['wsrep_sync_wait']}, set by each connection")
    else:
        yield problem(
            "wsrep_sync_wait",
            f"{found.get('wsrep_sync_wait')}, though each connection sets 7",
            "something between changes settings: reads may miss what another node acknowledged",
            PROXY,
        )
