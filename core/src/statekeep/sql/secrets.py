"""Passwords that rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from statekeep.errors import ConfigError
from statekeep.passwords import printed


def password(value: str | None, file: str | None, command: Any, table: str) -> str:
    """The password: of the config, or of a file or a command, which are asked each time.

    Args:
        value: what the config says; empty without it.
        file: the path of a file; a line's end behind the password is left out.
        command: a program and its arguments; see `statekeep.passwords`.
        table: the config's table, for the error.

    Raises:
        ConfigError: the file cannot be read, or there is no such program.
        AccessDenied: the command failed.
    """
    if command is not None:
        return printed(command, f"{table}.password_command")
    if file is None:
        return value or ""
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{table}.password_file: {file} cannot be read: {error}") from error
