"""MariaDB servers, each in a folder of its own."""

from __future__ import annotations

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
from typing import Any, TypeVar

import pymysql

from tests.servers import install, used
from tests.servers.ports import free_ports
from tests.servers.waiting import until

T = TypeVar("T")

START_SECONDS = 40.0
PASSWORD = "open sésame"
"""Of the user `app`, who may do everything in any database, over the network."""

FAST: dict[str, str] = {
    "innodb_buffer_pool_size": "64M",
    "innodb_log_file_size": "48M",
    "innodb_flush_log_at_trx_commit": "0",
    "innodb_flush_method": "nosync",
    "sync_binlog": "0",
    "max_connections": "200",
    "performance_schema": "OFF",
    "skip_name_resolve": "ON",
}
"""For servers whose loss does not matter."""

SAFE: dict[str, str] = {
    **FAST, "innodb_flush_log_at_trx_commit": "1", "innodb_flush_method": "fsync",
}  # fmt: skip
"""For servers that are killed."""

USERS = f"""
CREATE USER 'app'@'%' IDENTIFIED BY '{PASSWORD}';
GRANT ALL PRIVILEGES ON *.* TO 'app'@'%';
"""


eventually = partial(until, (pymysql.Error, OSError))
"""Waits for a probe; errors of PyMySQL count as not yet."""


def _identity() -> dict[str, Any]:
    """As root, the server runs as the user that its package made."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("mysql")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def own(path: Path) -> None:
    """Gives a file or folder to the user that the servers run as."""
    identity = _identity()
    if identity:
        os.chown(path, identity["user"], identity["group"])


class MysqlProcess:
    """A MariaDB server in a folder of its own.

    Args:
        options: of its config.
        data: an existing data folder's parent, such as a small file system.
        template: another one's data folder to begin with a copy of.
    """

    def __init__(
        self,
        options: dict[str, str] | None = None,
        *,
        data: Path | None = None,
        template: Path | None = None,
        start: bool = True,
    ) -> None:
        self.port = free_ports()[0]
        self.folder = Path(tempfile.mkdtemp(prefix="statekeep-mysql-"))
        own(self.folder)
        self.folder.chmod(0o755)
        # A server that starts removes the temporary tables of others in the same folder.
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        own(self.temporary)
        self.data = (data or self.folder) / "data"
        self.socket = self.folder / "socket"
        self.options = dict(FAST if options is None else options)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if template is None:
                self._initialize()
            else:
                shutil.copytree(template, self.data)
                subprocess.run(["chown", "-R", "--reference", template, self.data], check=True)
            if start:
                self.start()
                if template is None:
                    self.run_all(USERS)
        except BaseException:
            self.close()
            raise

    def _initialize(self) -> None:
        command = [
            install.find("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}",
            "--skip-test-db", "--auth-root-authentication-method=normal",
            "--innodb-log-file-size=48M", "--innodb-flush-method=nosync",
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60,
            env={**os.environ, "TMPDIR": str(self.temporary)}, **_identity(),
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"mariadb-install-db failed: {done.stderr[-2000:]}")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def client(self, database: str | None = None, **options: Any) -> pymysql.Connection:
        """A plain connection of the administrator, over the unix socket."""
        core = pymysql.connections.Connection(
            user="root", database=database, autocommit=True, read_timeout=20, ssl_disabled=True,
            defer_connect=True, **options,
        )  # fmt: skip
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(self.socket))
        except OSError:  # PyMySQL would leave it open
            sock.close()
            raise
        core.connect(sock)
        return core

    def sql(self, statement: str, *parameters: Any, database: str | None = None) -> list[Any]:
        """The rows of one statement, past the code under test."""
        with self.client(database) as client, client.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def run_all(self, statements: str) -> None:
        """Runs statements that end in semicolons at line ends."""
        for statement in statements.split(";\n"):
            if statement.strip():
                self.sql(statement)

    def start(self, *arguments: str) -> None:
        """Starts it (again, on the same port and data) and waits until it answers."""
        self.launch(*arguments)
        try:
            eventually(self._answers, "start of MariaDB", START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.log()[-2000:]}") from error

    def launch(self, *arguments: str) -> None:
        """Starts it, and does not wait."""
        options = {
            "datadir": str(self.data), "socket": str(self.socket), "port": str(self.port),
            "bind_address": "127.0.0.1,127.0.0.2", "pid_file": str(self.folder / "pid"),
            "tmpdir": str(self.temporary), **self.options,
        }  # fmt: skip
        lines = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [install.find("mariadbd"), "--no-defaults", *lines, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, **_identity(),
            )  # fmt: skip

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"MariaDB ended with {self._process.returncode}")
        ((version,),) = self.sql("SELECT VERSION()")
        used.note(f"MariaDB {version.split('-')[0]}")
        return True

    def log(self) -> str:
        """What it wrote to its log."""
        return (self.folder / "log").read_text(errors="replace")

    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def freeze(self) -> None:
        """SIGSTOP: the kernel goes on accepting connections, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        eventually(
            lambda: all(") T " in (task / "stat").read_text() for task in tasks.iterdir()),
            "a stop of all its threads",
        )

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Lets it shut down."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def close(self) -> None:
        """Ends it and removes its folder."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                self.thaw()
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> MysqlProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def grow(folder: Path, size: str) -> None:
    """Makes the file system of `tmpfs` larger."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


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
