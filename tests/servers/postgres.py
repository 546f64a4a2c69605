"""PostgreSQL servers: alone, or a primary with a streaming standby; and PgBouncer before one."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pg8000.core
import pg8000.native

from tests.servers import install, used
from tests.servers.ports import free_ports
from tests.servers.waiting import until

START_SECONDS = 30.0
PASSWORD = "open sesame"

FAST = {
    "listen_addresses": "'127.0.0.1'",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "on",
    "log_min_messages": "warning",
    "logging_collector": "off",
}
"""For servers whose loss does not matter."""

SAFE = {**FAST, "fsync": "on", "full_page_writes": "on"}
"""For servers that are killed."""


eventually = partial(until, (pg8000.native.Error, OSError))
"""Waits for a probe; errors of pg8000 count as not yet."""


def identity() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _lives(pid: int) -> bool:
    """Whether a process holds anything still: one that only waits to be reaped does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def own(path: Path) -> None:
    """Gives a file or folder to the user that the servers run as."""
    who = identity()
    if who:
        os.chown(path, who["user"], who["group"])


@functools.cache
def _initialized() -> Path:
    """A fresh data folder to copy, which is three times faster than to make one each time."""
    folder = Path(tempfile.mkdtemp(prefix="statekeep-initdb-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    own(folder)
    password = folder / "password"
    password.write_text(PASSWORD)
    own(password)
    _run("initdb", "-D", folder / "data", "-U", "postgres", "--pwfile", password, "--no-sync",
         "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust")  # fmt: skip
    return folder / "data"


class PostgresProcess:
    """A PostgreSQL server in a folder of its own.

    Args:
        options: lines of its config.
        access: lines of pg_hba.conf; without them anybody may come in from this machine.
        data: an existing data folder's parent, such as a small file system.
        primary: the server of which to be a standby.
    """

    def __init__(
        self,
        options: dict[str, str] | None = None,
        *,
        access: tuple[str, ...] = (),
        data: Path | None = None,
        primary: PostgresProcess | None = None,
        name: str = "standby",
    ) -> None:
        self.port = free_ports()[0]
        self.folder = Path(tempfile.mkdtemp(prefix="statekeep-postgres-"))
        own(self.folder)
        self.folder.chmod(0o755)
        self.data = (data or self.folder) / "data"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if primary is None:
                self._initialize(options or FAST, access)
            else:
                self._copy(primary, options or {}, name)
            self.start()
        except BaseException:
            self.close()
            raise

    def _initialize(self, options: dict[str, str], access: tuple[str, ...]) -> None:
        subprocess.run(["cp", "-a", _initialized(), self.data], check=True)
        lines = {"unix_socket_directories": f"'{self.folder}'", "port": str(self.port), **options}
        self.configure(lines)
        if access:
            rules = ("local all all trust", *access)
            (self.data / "pg_hba.conf").write_text("".join(f"{rule}\n" for rule in rules))

    def _copy(self, primary: PostgresProcess, options: dict[str, str], name: str) -> None:
        _run("pg_basebackup", "-D", self.data, "-h", primary.folder, "-p", primary.port,
             "-U", "postgres", "-c", "fast", "--no-sync")  # fmt: skip
        # Not by its -R, which writes a file that overrides what is configured here.
        (self.data / "standby.signal").touch()
        own(self.data / "standby.signal")
        to = f"host={primary.folder} port={primary.port} user=postgres application_name={name}"
        self.configure({
            "unix_socket_directories": f"'{self.folder}'", "port": str(self.port),
            "primary_conninfo": f"'{to}'", "synchronous_standby_names": "''", **options,
        })  # fmt: skip

    def configure(self, options: dict[str, str]) -> None:
        """Appends lines to the config; `reload()` or a start makes them count."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in options.items())

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def client(self, database: str = "postgres", **options: Any) -> pg8000.native.Connection:
        """A plain connection of the administrator, over the unix socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(20)
            sock.connect(str(self.folder / f".s.PGSQL.{self.port}"))
            return pg8000.native.Connection("postgres", sock=sock, database=database, **options)
        except BaseException:
            sock.close()  # pg8000 leaves it open where the server refuses
            raise

    def sql(self, statement: str, database: str = "postgres", **parameters: Any) -> list[Any]:
        """The rows of one statement, past the code under test."""
        with self.client(database) as client:
            return list(client.run(statement, **parameters) or [])

    def start(self) -> None:
        """Starts it (again, on the same port and data) and waits until it answers."""
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [install.find("postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, **identity(),
            )  # fmt: skip
        try:
            eventually(self._answers, "start of PostgreSQL", START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log()[-2000:]}") from error

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with {self._process.returncode}")
        ((version,),) = self.sql("SHOW server_version")
        used.note(f"PostgreSQL {version.split()[0]}")
        return True

    def log(self) -> str:
        """What it wrote to its log."""
        return (self.folder / "log").read_text(errors="replace")

    def reload(self) -> None:
        """Has it read its config again."""
        os.kill(self.pid, signal.SIGHUP)

    def children(self) -> list[int]:
        """The processes of the server beside the postmaster."""
        tasks = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(each) for each in tasks.read_text().split()]

    def freeze(self) -> None:
        """SIGSTOP to all its processes: the kernel goes on accepting connections."""
        os.kill(self.pid, signal.SIGSTOP)
        for child in self.children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to all of them."""
        for child in self.children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its children, and waits for the end."""
        if self._process is None or self._process.poll() is not None:
            return
        os.kill(self.pid, signal.SIGSTOP)  # so that it starts no further child meanwhile
        children = self.children()
        self._process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.wait()
        eventually(lambda: not any(map(_lives, children)), "its end")
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Fast (SIGINT), smart (SIGTERM) or immediate (SIGQUIT) shutdown."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)

    def ended(self) -> bool:
        """Whether it ended by itself; then it can be started again."""
        assert self._process is not None
        if self._process.poll() is None:
            return False
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        return True

    def promote(self) -> None:
        """Makes a standby a primary."""
        self.sql("SELECT pg_promote(true, 30)")
        eventually(lambda: not self.sql("SELECT pg_is_in_recovery()")[0][0], "promotion")

    def close(self) -> None:
        """Ends it and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self.thaw()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PostgresProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Bouncer:
    """PgBouncer in transaction mode before a server."""

    def __init__(self, server: PostgresProcess, pool_size: int = 3) -> None:
        self.port = free_ports()[0]
        self.folder = Path(tempfile.mkdtemp(prefix="statekeep-pgbouncer-"))
        own(self.folder)
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {pool_size}\n"
            "max_client_conn = 200\nserver_login_retry = 0.2\n"
        )
        config.write_text(config.read_text().replace("* = host", "* = user=postgres host"))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [install.find("pgbouncer"), str(config)], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, **identity(),
            )  # fmt: skip
        try:
            eventually(self._answers, "start of PgBouncer")
        except BaseException:
            self.close()
            raise
        used.note("PgBouncer")

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError((self.folder / "log").read_text()[-2000:])
        core = pg8000.core.CoreConnection(
            "postgres", host="127.0.0.1", port=self.port, database="postgres", timeout=5,
            ssl_context=False,
        )  # fmt: skip
        core.close()
        return True

    def close(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Bouncer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def tmpfs(size: str) -> Iterator[Path]:
    """A small file system in memory, for the length of a block; needs root."""
    folder = Path(tempfile.mkdtemp(prefix="statekeep-tmpfs-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        own(folder)
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)
        folder.rmdir()


def _run(name: str, *arguments: object) -> None:
    done = subprocess.run(
        [install.find(name), *map(str, arguments)], capture_output=True, text=True, timeout=60,
        cwd="/", **identity(),
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{name} failed: {done.stderr[-2000:]}")
