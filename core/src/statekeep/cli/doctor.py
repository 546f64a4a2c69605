"""`doctor`: what is wrong with a config, the way to the store, and the store, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from statekeep.cli import text
from statekeep.cli.call import Call, command
from statekeep.cli.exits import NO, OK
from statekeep.cli.output import Output

if TYPE_CHECKING:
    from statekeep.config import StorageConfig
    from statekeep.findings import Finding

PATIENCE = timedelta(seconds=10)
ROUNDS = 20
INSTALL = re.compile(r"pip install [\w.-]+")
MARKS = {"good": "ok", "advice": "advice", "problem": "PROBLEM", "unknown": "unknown"}
"""How a severity is shown; in lines, so that what is wrong is seen at once."""

CHECKS = {
    "config": "whether the config can be used",
    "plugin": "whether the plugins it names are installed, whole, and of one version",
}


def doctor(
    call: Call,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            "--timeout", metavar="TIME", parser=text.duration, help="For each step. [10s]"
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, max=10_000, help="Tries of each call.")
    ] = ROUNDS,
) -> int:
    """Find what is wrong with config, network, store and queues, and say what mends it.

    Nothing is created or changed; the records by which calls are timed are removed at the end.
    Exit code 1 where there is a problem.
    """
    seconds = (timeout or PATIENCE).total_seconds()
    counts: dict[str, int] = {}
    for finding in _findings(call, seconds, rounds):
        counts[finding.severity.value] = counts.get(finding.severity.value, 0) + 1
        show(call.out, finding)
    if not call.out.as_json:
        call.out.line(", ".join(f"{counts.get(name, 0)} {name}" for name in MARKS))
    return NO if counts.get("problem") else OK


def show(out: Output, finding: Finding) -> None:
    """Writes a finding: one line, or one JSON object."""
    severity = finding.severity.value
    if out.as_json:
        names = ("check", "found", "meaning", "remedy")
        out.record({"severity": severity, **{name: getattr(finding, name) for name in names}})
        return
    line = f"{MARKS[severity]:<8}{finding.check:<32}{finding.found}"
    if finding.meaning:
        line += f"; {finding.meaning}"
    if finding.remedy:
        line += f" => {finding.remedy}"
    out.line(text.printable(" ".join(line.split("\n"))))


def _findings(call: Call, seconds: float, rounds: int) -> Iterator[Finding]:
    config = yield from _configured(call)
    if config is None:
        return
    yield from _plugins()
    if (yield from _reachable(config, seconds)):
        yield from _inside(config, seconds, rounds)


def _configured(call: Call) -> Generator[Finding, None, StorageConfig | None]:
    from statekeep.errors import ConfigError, PluginError
    from statekeep.examining import good, problem
    from statekeep.registry import default_registry
    from statekeep.sources import read

    registry = default_registry()
    try:
        config = call.load()
        source = read(call.source, registry.backend).name
        name = registry.offering(registry.backends, config.backend).name
    except ConfigError as error:
        for each in error.problems:
            yield problem("config", each, "nothing is opened", "correct it there")
        return None
    except PluginError as error:
        yield problem("plugin", str(error), "nothing is opened", _installing(error))
        return None
    yield good("config", f"valid, backend {name}, from {source}")
    return config


def _installing(error: Exception) -> str:
    found = INSTALL.search(str(error))
    return found.group() if found else "statekeep plugins"


def _plugins() -> Iterator[Finding]:
    """Those that do not work; and those of another version, which were not tested together."""
    from importlib.metadata import PackageNotFoundError, version

    from statekeep import __version__
    from statekeep.examining import advice, good
    from statekeep.registry import default_registry

    registry = default_registry()
    others: dict[str, str] = {}
    for shelf in registry.shelves:
        for offer in shelf.offers.values():
            if offer.source.startswith("statekeep-"):
                try:
                    others[offer.source] = version(offer.source)
                except PackageNotFoundError:
                    continue  # registered by a program, not installed
    odd = [f"{name} {found}" for name, found in others.items() if found != __version__]
    for broken in registry.broken:
        yield advice(
            "plugin",
            f"{broken.name} of {broken.source} cannot be loaded: {broken.error}",
            "what it offers cannot be named in the config",
            f"pip install --force-reinstall {broken.source}",
        )
    if odd:
        yield advice(
            "plugin",
            f"statekeep is {__version__}, and {', '.join(odd)}",
            "all are made and tested in one version",
            f"pip install {' '.join(f'{name.split()[0]}=={__version__}' for name in odd)}",
        )
    if not odd and not registry.broken:
        yield good("plugin", f"all of version {__version__}")


def _reachable(config: StorageConfig, seconds: float) -> Generator[Finding, None, bool]:
    """The way to each server; whether logging in can be tried."""
    from statekeep.cli.reaching import answers, reached
    from statekeep.cli.recognizing import recognized
    from statekeep.errors import StorageError
    from statekeep.examining import problem
    from statekeep.registry import default_registry

    registry = default_registry()
    plugin = registry.offering(registry.backends, config.backend)
    try:
        servers = [] if plugin.servers is None else plugin.servers(config.backend)
    except StorageError as error:
        yield problem("config", str(error), "no connection can be made")
        return False
    any_answers = not servers
    for server in servers:
        found: list[Finding] = []
        for finding in reached(server, seconds, lambda each: recognized(each, registry, seconds)):
            found.append(finding)
            yield finding
        any_answers = any_answers or answers(found)
    return any_answers


def _inside(config: StorageConfig, seconds: float, rounds: int) -> Iterator[Finding]:
    from attrs import evolve

    from statekeep.cli.entering import entered
    from statekeep.compose import assemble
    from statekeep.errors import StorageError
    from statekeep.examining import problem

    try:
        backend = assemble(evolve(config, cache=None, observers=()))
    except StorageError as error:
        yield problem("plugin", str(error), "nothing is opened", _installing(error))
        return
    with closing(backend):
        yield from entered(backend, seconds, rounds)


def checks() -> dict[str, dict[str, str]]:
    """Everything that `doctor` itself looks at, stage by stage, by the name that a finding has."""
    from statekeep import examining
    from statekeep.cli import capacity, entering, reaching

    return {
        "core": CHECKS,
        "way": reaching.CHECKS,
        "store": entering.CHECKS,
        "calls": capacity.CHECKS,
        "records": examining.CHECKS,
    }


def add_to(app: typer.Typer) -> None:
    """Adds this command."""
    command(app, "doctor")(doctor)
