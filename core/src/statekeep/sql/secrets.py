"""Passwords that rotate."""

from __future__ import annotations

from pathlib import Path

from statekeep.errors import ConfigError


def password(value: str | None, file: str | None, table: str) -> str:
    """The password: of the config, or of a file, which is read each time.

    Args:
        value: what the config says; empty without it.
        file: the path of a file; a line's end behind the password is left out.
        table: the config's table, for the error.

    Raises:
        ConfigError: the file cannot be read.
    """
    if file is None:
        return value or ""
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{table}.password_file: {file} cannot be read: {error}") from error
