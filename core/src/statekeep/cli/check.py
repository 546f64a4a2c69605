"""`check`: is the config valid, the store complete and reachable, and how fast is it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import field, mutable

from statekeep.cli.call import Call, command, remedy_of_missing
from statekeep.cli.exits import NO, OK, describe
from statekeep.cli.output import Output

if TYPE_CHECKING:
    from statekeep.backend import Backend

ROUNDS = 20


@mutable
class Report:
    """What was found so far: shown line by line, or at the end as one JSON object."""

    out: Output
    found: dict[str, Any] = field(factory=dict)

    def note(self, name: str, value: Any, sentence: str) -> None:
        """Takes a finding in."""
        self.found[name] = value
        if not self.out.as_json:
            self.out.line(f"{name.replace('_', ' '):<10}{sentence}")

    def close(self, ok: bool, error: Exception | None = None) -> None:
        """Shows what JSON has to say."""
        if self.out.as_json:
            failure = {} if error is None else {"error": describe(error)}
            self.out.record({"ok": ok, **self.found, **failure})


def check(
    call: Call,
    create: Annotated[bool, typer.Option("--create", help="Create what is missing.")] = False,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, max=10_000, help="Tries of each.")
    ] = ROUNDS,
) -> int:
    """Check the config and the store, and time each operation.

    Nothing is created unless asked, and the records it tries things on are removed at the end.
    Exit code 1 where something is missing.
    """
    report = Report(call.out)
    try:
        complete = _check(call, report, create, rounds)
    except Exception as error:
        report.close(False, error)
        raise
    report.close(complete)
    return OK if complete else NO


def _check(call: Call, report: Report, create: bool, rounds: int) -> bool:
    from statekeep.registry import default_registry

    config, registry = call.load(), default_registry()
    name = registry.offering(registry.backends, config.backend).name
    report.note("config", "valid", f"valid, backend {name}")
    with call.backend(cache=False) as backend:
        missing = list(backend.missing())
        if missing and not create:
            report.note("missing", missing, ", ".join(missing))
            report.note("created", False, f"nothing; {remedy_of_missing(backend)}")
            return False
        report.note("missing", missing, ", ".join(missing) or "nothing")
        backend.setup()
        if missing:
            report.note("created", True, "all of it")
        backend.ping()
        report.note("reachable", True, "yes")
        _capabilities(backend, report)
        _latencies(backend, report, rounds)
    return True


def _capabilities(backend: Backend, report: Report) -> None:
    promised = backend.capabilities
    names = ("durable", "shared", "expiry", "snapshot_reads", "fresh_reads", "read_only")
    held: dict[str, Any] = {each: getattr(promised, each) for each in names}
    held |= {"atomic": promised.atomic_scope.value, "max_value_bytes": promised.max_value_bytes}
    shown = [each.replace("_", " ") for each in names if held[each]]
    shown.append(f"values up to {promised.max_value_bytes / 2**20:.0f} MiB")
    report.note("promises", held, ", ".join(shown))


def _latencies(backend: Backend, report: Report, rounds: int) -> None:
    from statekeep.cli.probes import Probe
    from statekeep.storage import Storage

    found: dict[str, float] = {}
    if not report.out.as_json:
        report.out.line(f"latency   median of {rounds}, in milliseconds")
    with Probe(Storage(backend)) as probe:
        for timing in probe.timings(rounds):
            found[timing.operation.replace(" ", "_")] = round(timing.seconds * 1000, 4)
            if not report.out.as_json:
                report.out.line(f"  {timing.operation:<16}{timing.seconds * 1000:10.3f}")
    report.found |= {"rounds": rounds, "latency_ms": found}


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    command(app, "check")(check)
