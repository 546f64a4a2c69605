"""The command line put together."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from inspect import Parameter
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from statekeep import __version__
from statekeep.cli import (
    check,
    counting,
    deferred,
    dictionary,
    doctor,
    inspection,
    listing,
    moving,
    sets,
    transfer,
    values,
)
from statekeep.cli.call import group
from statekeep.cli.exits import MEANINGS, guarded
from statekeep.cli.top import command as top

PROGRAM = "statekeep"


class Root(TyperGroup):
    """The root command: its errors are lines, and its exit codes those of `statekeep.cli.exits`."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        """Runs a command line and exits."""
        raise SystemExit(self.run(args, **extra))

    def run(self, args: Sequence[str] | None, **extra: Any) -> int:
        """Runs a command line and returns the exit code."""
        given = list(sys.argv[1:] if args is None else args)
        options = {**extra, "prog_name": PROGRAM, "standalone_mode": False}
        return guarded(lambda: super(Root, self).main(given, **options), given)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


VERSION = Parameter(
    "version",
    Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ],
)
EPILOG = "\n\n".join(("Exit codes:", *(f"{code:3} {what}" for code, what in MEANINGS.items())))

app = group(
    PROGRAM,
    "Look into and change what statekeep keeps.",
    VERSION,
    cls=Root,
    add_completion=True,
    epilog=EPILOG,
)
values.add_to(app)
listing.add_to(app)
app.add_typer(sets.app)
app.add_typer(deferred.app)
app.add_typer(dictionary.app)
moving.add_to(app)
transfer.add_to(app)
check.add_to(app)
doctor.add_to(app)
counting.add_to(app)
inspection.add_to(app)
top.add_to(app)


def run(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit code; to be terminated is to be interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, TextIOWrapper):  # a key may hold what its encoding does not
        sys.stdout.reconfigure(errors="backslashreplace")
    root = get_command(app)
    assert isinstance(root, Root)
    return root.run(arguments)
