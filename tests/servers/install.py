"""Finds or installs the servers that tests need: `python -m tests.servers.install`.

What is missing is installed with apt-get, as root or by sudo. Where that cannot be,
`STATEKEEP_TEST_REDIS_URL`, `STATEKEEP_TEST_POSTGRES_URL` and `STATEKEEP_TEST_MYSQL_URL` may name
servers: the conformance kit then runs against those. Tests that must start, stop or break servers
of their own fail there, saying what to install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PACKAGES = {
    "redis-server": "redis-server",
    "redis-sentinel": "redis-sentinel",
    "postgres": "postgresql",
    "initdb": "postgresql",
    "pg_basebackup": "postgresql",
    "pgbouncer": "pgbouncer",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}
"""Debian's package of each program."""

FOLDERS = ("usr/lib/postgresql/*/bin", "usr/sbin")
"""Where Debian keeps servers that are not in the PATH; of several versions the newest is taken."""

SERVERS = {"redis": "redis-server", "postgres": "postgres", "mysql": "mariadbd"}
"""The program of each backend's server."""


class Missing(Exception):
    """A server is missing and cannot be installed."""


def find(program: str) -> str:
    """The path of a server's program, installed if need be.

    Raises:
        Missing: it is not there, with what to do.
    """
    found = _which(program)
    if found is None:
        _install(program)
        found = _which(program)
    if found is None:
        raise Missing(f"{program} is still missing after its package was installed")
    return found


def _which(program: str) -> str | None:
    found = (sorted(Path("/").glob(pattern), reverse=True) for pattern in FOLDERS)
    path = os.pathsep.join(str(folder) for folders in found for folder in folders)
    return shutil.which(program, path=path) or shutil.which(program)


def variable(backend: str) -> str:
    """The environment variable that may name a backend's server, as a URL."""
    return f"STATEKEEP_TEST_{backend.upper()}_URL"


def given(backend: str) -> str | None:
    """The URL of the server to test against instead of one of our own; None where none is named."""
    return os.environ.get(variable(backend))


def _install(program: str) -> None:
    apt, prefix = shutil.which("apt-get"), _root()
    if apt is None or prefix is None:
        backend = next((name for name, server in SERVERS.items() if server == program), None)
        address = f"; or set {variable(backend)}, for the conformance kit alone" if backend else ""
        raise Missing(
            f"{program} is not installed and cannot be: needs apt-get and root (or sudo without a "
            f"password). Install the package {PACKAGES[program]}{address}"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", PACKAGES[program]]):
        done = subprocess.run([*prefix, apt, *command], env=env, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"apt-get {' '.join(command)} failed: {done.stderr[-1000:]}")


def _root() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


def main(say: Callable[[str], object] = print) -> int:
    """Installs what is missing; 0 if everything is there."""
    missing = 0
    for program in PACKAGES:
        try:
            say(f"{program}: {find(program)}")
        except Missing as error:
            say(f"{program}: MISSING: {error}")
            missing = 1
    for backend in SERVERS:
        if given(backend):
            say(f"{variable(backend)} is set: the conformance kit runs against that server")
    return missing


if __name__ == "__main__":
    sys.exit(main())
