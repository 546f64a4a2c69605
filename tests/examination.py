"""What `examine()` finds, held to what every finding must be, and looked up by its check."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from statekeep import Storage
from statekeep.backend import Backend
from statekeep.findings import Finding, Severity


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


def innermost(storage: Storage) -> Any:
    """A storage's backend, below all layers."""
    backend: Any = storage.backend
    while hasattr(backend, "inner"):
        backend = backend.inner
    return backend


def examine(backend: Backend) -> Examined:
    """What a plugin's backend finds; every name is in the `CHECKS` of its `doctor.py`."""
    package = type(backend).__module__.rpartition(".")[0]
    return Examined(backend.examine(), import_module(f"{package}.doctor").CHECKS)
