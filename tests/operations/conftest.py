"""Storages, and what servers need to speak TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import statekeep
from statekeep import Storage

from tests.servers import certificates
from tests.servers.mysql import own

Open = Callable[[dict[str, Any]], Storage]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens storages by their config, and closes them after the test."""
    with ExitStack() as stack:
        yield lambda config: stack.enter_context(statekeep.open(config))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that holds the application's password."""
    file = tmp_path / "secret"
    file.write_text("app-secret\n")
    return file


@pytest.fixture(scope="session")
def pem() -> Iterator[dict[str, str]]:
    """What the page calls the certificates, and where they are, readable by MariaDB's user."""
    with TemporaryDirectory(prefix="statekeep-pem-") as folder:
        made = certificates.make(Path(folder))
        Path(folder).chmod(0o755)
        own(made.key)
        yield {
            "/etc/state/ca.pem": str(made.ca),
            "/etc/state/server.pem": str(made.cert),
            "/etc/state/server.key": str(made.key),
            "/etc/state/client.pem": str(made.client_cert),
            "/etc/state/client.key": str(made.client_key),
            "other": str(made.other_ca),
        }


def picked(pem: dict[str, str], *names: str) -> dict[str, object]:
    """The replacements for these files of the page."""
    return {f"/etc/state/{name}": pem[f"/etc/state/{name}"] for name in names}


SERVER = ("ca.pem", "server.pem", "server.key")
CLIENT = ("ca.pem", "client.pem", "client.key")
