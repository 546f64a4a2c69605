"""Runs a page's console blocks as they stand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.operations.pages import commands
from tests.servers import install

SECONDS = 60


def run(
    page: str, name: str, replaced: Mapping[str, object], *, program: str, **identity: Any
) -> str:
    """Runs the block's lines in one shell, which stops at the first that fails; their output.

    Args:
        page: see `pages.block`.
        name: likewise.
        replaced: likewise; of hosts, ports and paths.
        program: a server's program: its clients are found beside it.
        identity: `user` and `group` to run as.
    """
    folder = Path(install.find(program)).parent
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands(page, name, replaced))],
        capture_output=True, text=True, timeout=SECONDS, cwd="/",
        env={**os.environ, "PATH": path}, **identity,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
    return done.stdout
