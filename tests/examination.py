"""What `examine()` finds, held to what every finding must be, and looked up by its check."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import timedelta
from importlib import import_module
from typing import Any

from statekeep import Storage
from statekeep.backend import Backend
from statekeep.clock import from_micros
from statekeep.findings import Finding, Severity
from statekeep.layers import base as layers


class Examined:
    """The findings of one examination."""

    def __init__(self, findings: Iterable[Finding], known: Iterable[str]) -> None:
        self.findings = list(findings)
        known = set(known)
        for each in self.findings:
            assert each.check in known, f"{each.check} is in no CHECKS, so no page explains it"
            assert each.found and each.check == each.check.strip()
            good = each.severity is Severity.GOOD
            assert good != bool(each.meaning), each
            assert not (good and each.remedy), each

    def of(self, severity: Severity) -> list[Finding]:
        """Those of one severity."""
        return [each for each in self.findings if each.severity is severity]

    @property
    def problems(self) -> list[str]:
        """The checks that found one."""
        return [each.check for each in self.of(Severity.PROBLEM)]

    def bad(self, check: str) -> list[Finding]:
        """What a check found that is not good."""
        found = [each for each in self.findings if each.check == check]
        assert found, f"nothing was said of {check}"
        return [each for each in found if each.severity is not Severity.GOOD]

    def one(self, check: str, severity: Severity) -> Finding:
        """The one thing that a check found that is not good."""
        (found,) = self.bad(check)
        assert found.severity is severity, found
        return found


def trouble(storage: Storage) -> None:
    """Stores what is not well: values that expire at once; messages that nobody takes.

    The one of the queue `left` is claimed once; `TROUBLE` makes it one whose worker is long gone.
    """
    for number in range(4):
        storage.values.put(f"{number}", b"", ttl=timedelta(milliseconds=1))
    now = from_micros(time.time_ns() // 1000)
    for number in range(3):
        storage.deferred.schedule("lonely", f"{number}", due=now - timedelta(minutes=9))
    storage.deferred.schedule("left", "it", due=now - timedelta(minutes=9))
    storage.deferred.claim("left", lease=timedelta(milliseconds=1))
    storage.deferred.schedule("later", "it", due=timedelta(hours=1))
    time.sleep(0.01)


TROUBLE = "SET attempt = 12, visible = visible - 400000000 WHERE queue = 'left'"
"""What an UPDATE of the table of messages does to `left`."""


def told(found: Examined) -> None:
    """Asserts that all of that trouble was found; `MANY_EXPIRED` must be set to 3 before."""
    assert found.one("expired", Severity.ADVICE).remedy == "statekeep purge"
    stuck = found.one("queues", Severity.PROBLEM).found
    assert "4 messages have been due" in stuck and "the oldest for 9 minutes" in stuck
    assert "3 in 'lonely', 1 in 'left' (5 messages of 3 queues looked at)" in stuck
    assert "1 in 'left'" in found.one("leases", Severity.ADVICE).found
    assert "one 12 times" in found.one("attempts", Severity.ADVICE).found


def innermost(storage: Storage) -> Any:
    """A storage's backend, below all layers."""
    return layers.innermost(storage.backend)


def examine(backend: Backend) -> Examined:
    """What a plugin's backend finds; every name is in the `CHECKS` of its `doctor.py`."""
    package = type(backend).__module__.rpartition(".")[0]
    return Examined(backend.examine(), import_module(f"{package}.doctor").CHECKS)
