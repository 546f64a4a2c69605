"""The Python examples of README and docs run as tests, each page in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_plugins = ["tests.servers.plugin"]

PAGES = ["README.md", "docs/*.md", "core/README.md", "plugins/*/README.md"]
IN_PIECES = ["docs/plugins.md"]
"""A package file by file: tests/test_plugin_page.py builds and runs it as one."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As shells start what runs in the background; the programs that tests interrupt inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE: dict[str, str] = {}


def _enter(namespace: dict[str, Any]) -> None:
    HERE["cwd"] = str(Path.cwd())
    HERE["folder"] = mkdtemp(prefix="statekeep-docs-")
    os.chdir(HERE["folder"])


def _leave(namespace: dict[str, Any]) -> None:
    storage = namespace.get("storage")
    if storage is not None:
        storage.close()
    os.chdir(HERE["cwd"])
    shutil.rmtree(HERE["folder"])


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=PAGES,
    excludes=IN_PIECES,
    path=str(Path(__file__).parent),
    setup=_enter,
    teardown=_leave,
).pytest()


def pytest_itemcollected(item: pytest.Item) -> None:
    """The examples of a page build on each other: one process runs them all, in order."""
    if item.path.suffix == ".md":
        item.add_marker(pytest.mark.xdist_group(str(item.path)))
