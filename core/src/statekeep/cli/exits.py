"""Exit codes, and the one place that turns an error into a line and a code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import typer

from statekeep import errors

OK = 0
NO = 1
USAGE = 2
CONFLICT = 3
STORE = 4
CORRUPT = 5
FAULT = 70
INTERRUPTED = 130
PIPE_CLOSED = 141

MEANINGS = {
    OK: "done",
    NO: "the answer is no: absent, nothing due, not set up, a problem, stores that differ",
    USAGE: "wrong usage, config or plugin; nothing was done",
    CONFLICT: "a version was not the expected one, or a lease was lost; nothing was written",
    STORE: "the store cannot be reached, refuses access, or its answer was lost",
    CORRUPT: "a stored value is damaged",
    FAULT: "a fault of statekeep, a plugin or this machine",
    INTERRUPTED: "interrupted",
    PIPE_CLOSED: "the reader of the output went away",
}

CODES: dict[type[Exception], int] = {
    errors.VersionConflict: CONFLICT,
    errors.LeaseLost: CONFLICT,
    errors.Unavailable: STORE,
    errors.AccessDenied: STORE,
    errors.OutcomeUnknown: STORE,
    errors.CorruptValue: CORRUPT,
    errors.Closed: FAULT,
    errors.StorageError: USAGE,
}

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""The base of what typer raises for a wrong command line, whichever click it stands on."""


class No(Exception):
    """The command ran, and its answer is no."""


class PipeClosed(Exception):
    """Nobody reads stdout any more. Not an `OSError`: typer would exit by itself on that."""


def guarded(action: Callable[[], Any], arguments: Sequence[str]) -> int:
    """Runs a command; whatever it raises becomes one line on stderr.

    Args:
        action: runs it, and returns an exit code or None.
        arguments: those of the command line, asked for `--json` and `--debug` even where they
            cannot be parsed.

    Returns:
        The exit code.
    """
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    try:
        if sys.stdout is None:
            raise typer.BadParameter("stdout is closed: to do without the answer say >/dev/null")
        code = action()
        sys.stdout.flush()
    except (PipeClosed, BrokenPipeError):
        _abandon_output()
        return PIPE_CLOSED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if "--debug" in options and not isinstance(error, No | UsageError):
            traceback.print_exc()
        if interrupted(error):
            return INTERRUPTED
        return _report(error, as_json="--json" in options)
    return code if isinstance(code, int) else OK


def interrupted(error: BaseException) -> bool:
    """Whether it is an interrupt, or came of one: joining a thread may fail when interrupted."""
    causes: BaseException | None = error
    while causes is not None and not isinstance(causes, KeyboardInterrupt):
        causes = causes.__context__
    return causes is not None


def exit_code(error: Exception) -> int:
    """The exit code that stands for an error."""
    if isinstance(error, No):
        return NO
    if isinstance(error, UsageError):
        return USAGE
    return next((code for kind, code in CODES.items() if isinstance(error, kind)), FAULT)


def describe(error: Exception) -> dict[str, Any]:
    """An error as `--json` shows it."""
    kind = "UsageError" if isinstance(error, UsageError) else type(error).__name__
    found: dict[str, Any] = {"error": kind, "message": "; ".join(_lines(error))}
    if isinstance(error, errors.ConfigError):
        found["problems"] = list(error.problems)
    if isinstance(error, errors.VersionConflict):
        found["current"] = error.current
    if isinstance(error, errors.VersionConflict | errors.LeaseLost):
        found["lost"] = [list(name) for name in error.lost]
    return found | {"exit_code": exit_code(error)}


def _report(error: Exception, *, as_json: bool) -> int:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was found before it comes before it
    except OSError:
        _abandon_output()
    if type(error).__name__ == "NoArgsIsHelpError":  # the help is the message
        _print(str(getattr(error, "message", "")).strip())
    elif as_json:
        _print(json.dumps(describe(error)))
    else:
        for line in _lines(error):
            _print(f"statekeep: {line}")
    return exit_code(error)


def _lines(error: Exception) -> list[str]:
    """One line for each problem."""
    if isinstance(error, errors.ConfigError):
        return [_one_line(problem) for problem in error.problems]
    if isinstance(error, UsageError):
        formatted = _one_line(getattr(error, "format_message", error.__str__)())
        for jargon in ("Invalid value: ", "Value error, "):  # of click, of pydantic
            formatted = formatted.replace(jargon, "", 1)
        message = formatted.rstrip(".")
        context = getattr(error, "ctx", None)
        return [f"{message} (see: {context.command_path} --help)" if context else message]
    if isinstance(error, OSError) and error.strerror:
        return [": ".join(filter(None, (error.filename and str(error.filename), error.strerror)))]
    notes = getattr(error, "__notes__", ())
    message = _one_line("; ".join((str(error), *notes))) or type(error).__name__
    if exit_code(error) == FAULT and not isinstance(error, errors.StorageError):
        message = f"unexpected {type(error).__name__}: {message} (--debug shows where)"
    return [message]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _print(line: str) -> None:
    if line:
        typer.echo(line, err=True)


def _abandon_output() -> None:
    """Nobody reads stdout any more: what is still buffered must not fail again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
