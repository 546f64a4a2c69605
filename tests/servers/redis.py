"""Redis servers: one, with replicas, under Sentinels, or a Cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import used
from tests.servers.install import find
from tests.servers.ports import free_ports
from tests.servers.waiting import until

START_SECONDS = 20.0
RESHARD_TIMEOUT = 5000


WATCHING = (
    "monitor state 127.0.0.1 {port} 2",
    "down-after-milliseconds state 700",
    "failover-timeout state 4000",
)
"""Sentinels that are quick."""

eventually = partial(until, (redis.RedisError, OSError))
"""Waits for a probe; errors of redis-py count as not yet."""


class RedisProcess:
    """A redis-server or Sentinel in a folder of its own.

    Args:
        options: lines of its config, `{"maxmemory": "5mb"}`; values may be lists of lines.
        port: the port, or None for a free one; 0 with `tls-port` in the options.
        program: redis-server or redis-sentinel.
        connect: what a client of this server needs beside host and port.
    """

    def __init__(
        self,
        options: dict[str, str | list[str]] | None = None,
        *,
        port: int | None = None,
        program: str = "redis-server",
        connect: dict[str, Any] | None = None,
    ) -> None:
        self.port = free_ports()[0] if port is None else port
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="statekeep-redis-"))
        self.socket = self.folder / "s"
        self._connect = connect or {}
        self._config = self.folder / "redis.conf"
        self._config.write_text("".join(self._lines(options or {})))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def _lines(self, options: dict[str, str | list[str]]) -> Iterator[str]:
        base: dict[str, str | list[str]] = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "logfile": str(self.folder / "log"),
            "daemonize": "no",
        }
        if self.program == "redis-server":
            base |= {"save": '""', "unixsocket": str(self.socket), "repl-diskless-sync-delay": "0"}
        for name, value in (base | options).items():
            for line in value if isinstance(value, list) else [value]:
                yield f"{name} {line}\n"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def client(self, **options: Any) -> redis.Redis:
        """A plain client, which tries once."""
        basic = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0)}
        return redis.Redis(
            host="127.0.0.1", port=self.port, **{**basic, **self._connect, **options}
        )

    def command(self, *words: object) -> Any:
        """The answer to one command."""
        with self.client() as client:
            return client.execute_command(*words)

    def info(self, section: str = "everything") -> dict[str, Any]:
        """INFO as a dict."""
        with self.client() as client:
            return dict(client.info(section))

    def start(self) -> None:
        """Starts it (again, on the same port and data) and waits until it answers."""
        command = [find(self.program), str(self._config)]
        if self.program == "redis-sentinel":
            command = [find("redis-server"), str(self._config), "--sentinel"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(self._answers, f"start of {self.program}", START_SECONDS)
        except AssertionError as error:
            log = self.folder / "log"
            self.kill()
            raise AssertionError(
                f"{error}: {log.read_text()[-2000:] if log.exists() else ''}"
            ) from error

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self.program} ended with {self._process.returncode}")
        try:
            version = self.info("server")["redis_version"]
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            version = "(version hidden)"
        used.note(f"{self.program} {version}")
        return True

    def signal(self, number: int) -> None:
        """Sends a signal to this process."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """SIGSTOP: it goes on accepting connections (the kernel does) and answers nothing."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Ends it and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self.thaw()
            self._process.kill()
        if self._process is not None:
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RedisProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class SentinelGroup:
    """A master, two replicas, and three Sentinels that watch them.

    Args:
        password: of all servers.
        options: of all servers.
        watching: lines of the Sentinels' config, with `{port}` for the master's port.
    """

    name = "state"

    def __init__(
        self,
        password: str | None = None,
        options: dict[str, Any] | None = None,
        watching: Sequence[str] = WATCHING,
    ) -> None:
        secret = {"requirepass": password, "masterauth": password} if password else {}
        connect = {"password": password} if password else {}
        shared = {**secret, **(options or {})}
        self.servers: list[RedisProcess] = []
        self.sentinels: list[RedisProcess] = []
        try:
            self.servers.append(RedisProcess(shared, connect=connect))
            origin = self.servers[0]
            for _ in range(2):
                replica = {**shared, "replicaof": f"127.0.0.1 {origin.port}"}
                self.servers.append(RedisProcess(replica, connect=connect))
            eventually(lambda: origin.info()["connected_slaves"] == 2, "two replicas")
            for server in self.servers[1:]:
                eventually(partial(_is_linked, server), "link")
            lines = [line.format(port=origin.port) for line in watching]
            lines += [f"auth-pass {self.name} {password}"] if password else []
            for _ in range(3):
                self.sentinels.append(RedisProcess({"sentinel": lines}, program="redis-sentinel"))
            for sentinel in self.sentinels:
                eventually(partial(self._knows_all, sentinel), "Sentinels that know each other")
        except BaseException:
            self.close()
            raise

    def _knows_all(self, sentinel: RedisProcess) -> bool:
        with sentinel.client() as client:
            state = client.sentinel_master(self.name)
        return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 2)

    @property
    def addresses(self) -> list[str]:
        """Of the Sentinels."""
        return [f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels]

    def master(self) -> RedisProcess:
        """The one that the first Sentinel names."""
        with self.sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(self.name)
        return next(server for server in self.servers if server.port == int(port))

    def close(self) -> None:
        """Ends all of them."""
        for process in (*self.sentinels, *self.servers):
            process.close()


class RedisCluster:
    """Three masters with a replica each, or more, or none.

    Args:
        replicas: of each master.
        options: of all nodes, beside the few that make them a Cluster.
    """

    def __init__(
        self, replicas: int = 1, options: dict[str, str | list[str]] | None = None
    ) -> None:
        options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "1500",
            "cluster-config-file": "nodes.conf",
            "cluster-replica-validity-factor": "0",
            **(options or {}),
        }
        self.nodes: list[RedisProcess] = []
        try:
            for port in free_ports(3 * (1 + replicas)):
                self.nodes.append(RedisProcess(options, port=port))
            self._create(replicas)
        except BaseException:
            self.close()
            raise

    def _create(self, replicas: int) -> None:
        command = [find("redis-server").replace("redis-server", "redis-cli"), "--cluster", "create"]
        command += [*self.addresses, "--cluster-replicas", str(replicas), "--cluster-yes"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"no Cluster: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        for node in self.nodes:
            eventually(partial(_complete, node, len(self.nodes)), "a complete Cluster")
        if replicas:
            eventually(lambda: len(self.masters()) == 3, "three masters")
            for master in self.masters():
                eventually(partial(_has_replicas, master, replicas), "replicas")

    @property
    def addresses(self) -> list[str]:
        """Of all nodes."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes]

    def masters(self) -> list[RedisProcess]:
        """The masters that run, by their own word."""
        found = []
        for node in self.nodes:
            with suppress(redis.RedisError, OSError):
                if node.info("replication")["role"] == "master":
                    found.append(node)
        return found

    def owner(self, slot: int) -> RedisProcess:
        """The node that serves a slot."""
        for first, last, (_, port, *_), *_ in self._slots():
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody serves slot {slot}")

    def _slots(self) -> list[Any]:
        for node in self.nodes:
            with (
                suppress(redis.RedisError, OSError),
                redis.Redis(
                    host="127.0.0.1", port=node.port, socket_timeout=2, retry=Retry(NoBackoff(), 0)
                ) as client,
            ):
                client.response_callbacks.clear()
                return list(client.execute_command("CLUSTER SLOTS"))
        raise AssertionError("no node answers")

    def move(self, slot: int, target: RedisProcess, pause: float = 0.0) -> None:
        """Moves one slot with its keys, one key at a time, as `redis-cli --cluster reshard`."""
        source = self.owner(slot)
        if source is target:
            return
        source_id, target_id = (n.command("CLUSTER MYID").decode() for n in (source, target))
        target.command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        source.command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.command("CLUSTER GETKEYSINSLOT", slot, 1):
            source.command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, RESHARD_TIMEOUT)
            time.sleep(pause)
        for node in (target, source, *self.masters()):
            node.command("CLUSTER SETSLOT", slot, "NODE", target_id)

    def close(self) -> None:
        """Ends all nodes."""
        for node in self.nodes:
            node.close()


def _is_linked(server: RedisProcess) -> bool:
    return bool(server.info()["master_link_status"] == "up")


def _has_replicas(server: RedisProcess, count: int) -> bool:
    return bool(server.info()["connected_slaves"] == count)


def _complete(node: RedisProcess, nodes: int) -> bool:
    info = node.command("CLUSTER INFO")
    told = (
        info
        if isinstance(info, dict)
        else dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    )
    return told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == nodes


@contextmanager
def running(
    options: dict[str, str | list[str]] | None = None, **more: Any
) -> Iterator[RedisProcess]:
    """A server for the length of a block."""
    process = RedisProcess(options, **more)
    try:
        yield process
    finally:
        process.close()
