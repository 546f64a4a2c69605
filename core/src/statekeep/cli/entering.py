"""What a store says once one is in: the login, what is missing, its own examination, its speed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from statekeep.backend import Backend
from statekeep.cli.call import remedy_of_missing
from statekeep.cli.capacity import judged
from statekeep.cli.patience import TooSlow, steps
from statekeep.cli.probes import Probe
from statekeep.errors import StorageError
from statekeep.examining import good, problem
from statekeep.findings import Finding, Severity
from statekeep.storage import Storage

CHECKS = {
    "login": "whether the store lets this user in",
    "tables": "whether everything is there that `setup()` creates",
    "answer": "whether the store goes on answering while it is examined",
}


def entered(backend: Backend, seconds: float, rounds: int) -> Iterator[Finding]:
    """The stages from the login on.

    Args:
        backend: not set up yet; nothing is created.
        seconds: how long each step may take.
        rounds: how often each call is tried.
    """
    found: list[Finding] = []
    for finding in _told("login", lambda: _login(backend), seconds):
        found.append(finding)
        yield finding
    refused = {each.found for each in found if each.check == "login" and each.meaning}
    # A right that is missing may keep one out here, and the examination says which it is.
    for finding in _told("answer", backend.examine, seconds):
        if finding.found not in refused:
            yield finding
    if not any(each.severity is Severity.PROBLEM for each in found):
        yield from _told("latency", lambda: _timed(backend, rounds), seconds)


def _told(check: str, stage: Callable[[], Iterable[Finding]], seconds: float) -> Iterator[Finding]:
    """What a stage finds; that the store fails or says nothing more is a finding, too."""
    try:
        yield from steps(stage, seconds)
    except TooSlow as error:
        yield problem(
            check,
            str(error),
            "the server is frozen or overloaded, or waits for a lock",
            "look at its process and its load; for longer waits: statekeep doctor --timeout 1m",
        )
    except StorageError as error:
        yield problem(
            check,
            str(error),
            "calls fail in the same way",
            f"do what the message says; docs/troubleshooting.md has {type(error).__name__}",
        )


def _login(backend: Backend) -> Iterator[Finding]:
    missing = list(backend.missing())
    if not missing:
        backend.ping()
    yield good("login", "the store lets this user in")
    if missing:
        yield problem(
            "tables",
            f"missing: {', '.join(missing)}",
            "nothing was ever stored there, or the config names another place",
            remedy_of_missing(backend),
        )
    else:
        yield good("tables", "nothing is missing")


def _timed(backend: Backend, rounds: int) -> Iterator[Finding]:
    backend.setup()
    with Probe(Storage(backend)) as probe:
        timings = list(probe.timings(rounds))
    yield from judged(timings, backend.capabilities.max_connections)
