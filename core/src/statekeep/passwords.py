"""Passwords that a command prints, such as the client of a secret manager."""

from __future__ import annotations

import os
import shlex
import signal
from contextlib import suppress
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import Any

from statekeep.errors import AccessDenied, ConfigError
from statekeep.options import OptionError, option

SECONDS = 10.0
"""What a command may take: a caller waits for the connection meanwhile."""

WAYS = ("password", "password_file", "password_command", "password_env")
"""The options that may say what the password is."""

SHOWN = 300
"""Characters of a command's complaint that are passed on."""


def one_way(config: object) -> None:
    """Refuses a config that says in two ways what the password is.

    Raises:
        OptionError: it names both.
    """
    given = [name for name in WAYS if getattr(config, name, None) is not None]
    if len(given) > 1:
        raise OptionError(given[1], f"cannot be given together with {given[0]}")


def words(command: Any) -> tuple[str, ...]:
    """The program and its arguments: a list of texts, or one text split as a shell does.

    Raises:
        ValueError: it is neither, or empty.
    """
    found = shlex.split(command) if isinstance(command, str) else command
    if not isinstance(found, list | tuple) or not all(isinstance(word, str) for word in found):
        raise ValueError("no list of texts")
    if not found or not found[0].strip() or any("\0" in word for word in found):
        raise ValueError("no program")
    return tuple(found)


def command_problem(command: Any) -> str | None:
    """The rule of an option that holds a command."""
    try:
        words(command)
    except ValueError:
        return 'must be a program and its arguments, such as ["pass", "show", "database"]'
    return None


def command_option() -> Any:
    """The option `password_command` of a plugin's config class."""
    return option(
        None,
        "program and arguments that print the password, run for every new connection",
        command_problem,
    )


def printed(command: Any, option: str) -> str:
    """What the command prints, without the end of its line. No shell is involved.

    Args:
        command: see `words`.
        option: what to call it in an error, such as `storage.redis.password_command`.

    Raises:
        ConfigError: there is no such program, or it may not be run.
        AccessDenied: it failed, took longer than `SECONDS`, or printed no single line of text.
    """
    program = words(command)
    try:
        # A group of its own, so that what the program started ends with it.
        process = Popen(  # noqa: S603  # the config's owner says what is run
            program, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    except OSError as error:
        raise ConfigError(f"{option}: {program[0]!r} cannot be run: {error.strerror}") from error
    with process:
        try:
            output, complaint = process.communicate(timeout=SECONDS)
        except TimeoutExpired:
            _kill(process)
            raise AccessDenied(f"{option}: {program[0]!r} took longer than {SECONDS:g} s") from None
        except BaseException:
            _kill(process)
            raise
    problem = f"ended with code {process.returncode}" if process.returncode else None
    return _checked(output, complaint, f"{option}: {program[0]!r}", problem)


def _checked(output: bytes, complaint: bytes, where: str, problem: str | None) -> str:
    try:
        secret = output.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        # Without the error itself, which holds the bytes.
        raise AccessDenied(f"{where} printed what is no text in UTF-8") from None
    if problem is None and (not secret or "\n" in secret):
        problem = f"printed {'several lines' if secret else 'nothing'} instead of a password"
    if problem is None:
        return secret
    said = complaint.decode(errors="replace").strip()
    for line in filter(None, output.decode().split()):
        said = said.replace(line, "***")
    raise AccessDenied(f"{where} {problem}{': ' + said[-SHOWN:] if said else ''}")


def _kill(process: Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
