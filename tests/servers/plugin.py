"""A pytest plugin: says at the end which real servers were used, also by xdist's workers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.servers import used

_from_workers: Counter[str] = Counter()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    _from_workers.update(getattr(node, "workeroutput", {}).get("servers_used", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["servers_used"] = used.noted()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    everything = Counter(used.noted()) + _from_workers
    if everything:
        terminalreporter.section("real servers used")
        for server, count in sorted(everything.items()):
            terminalreporter.write_line(f"{server}: started {count} times")
