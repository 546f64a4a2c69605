"""Reads a config from wherever it is: a file, a URL, a mapping, the environment."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from attrs import frozen

from statekeep.errors import ConfigError
from statekeep.hookspecs import BackendPlugin

URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
QUOTED_BY_YAML = re.compile(r"\b(alias|anchor|handle|tag|data).*", re.DOTALL)
DEFAULT_FILE = "statekeep.toml"
EMBEDDED = {"storage": {"sqlite": {"path": "statekeep.db"}}}
STORAGE_OPTIONS = ("compression",)
"""What the query of a URL may say besides the backend's own options."""

FindBackend = Callable[[str], BackendPlugin]


@frozen
class Source:
    """What was read, and what to call it in an error."""

    name: str
    content: Mapping[str, Any]


def read(source: str | PathLike[str] | Mapping[str, Any] | None, find: FindBackend) -> Source:
    """The content of a source, as in the file: names as written, `${VARIABLES}` filled in.

    Raises:
        ConfigError: the file is missing or cannot be parsed, or a variable is not set.
    """
    if source is None:
        return _discovered(find)
    if isinstance(source, Mapping):
        found = Source("the mapping given", source)
    elif isinstance(source, str) and is_url(source):
        return _from_url(source, find)
    else:
        found = _from_file(Path(source))
    return Source(found.name, _filled_in(found.content, found.name))


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path (a drive letter makes a path)."""
    is_file = Path(text).suffix.lower() in PARSERS and "://" not in text
    return URL.match(text) is not None and not is_file


def _discovered(find: FindBackend) -> Source:
    if file := os.environ.get("STATEKEEP_CONFIG"):
        found = read(file, find)
        return Source(f"{found.name}, from STATEKEEP_CONFIG", found.content)
    if url := os.environ.get("STATEKEEP_URL", "").strip():
        if not URL.match(url):  # not shown: it may hold a password
            raise ConfigError(
                "STATEKEEP_URL must begin with a scheme, as sqlite:///state.db, and not be quoted"
            )
        found = _from_url(url, find)
        return Source(f"{found.name}, from STATEKEEP_URL", found.content)
    if Path(DEFAULT_FILE).exists():
        return read(DEFAULT_FILE, find)
    return Source("the embedded default", EMBEDDED)


def _from_file(path: Path) -> Source:
    # A URL with a slip at its beginning is taken for a path, and it may hold a password.
    name = "the text given, not shown here," if ":/" in str(path) else f"{path}:"
    parse = PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ConfigError(
            f"{name} is neither a URL nor a config file: its name must end in "
            f"{', '.join(sorted(PARSERS))}"
        )
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{name} there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:  # it carries the whole content
        raise ConfigError(f"{name} is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigError(f"{name} cannot be parsed: {error}") from None
    if not isinstance(content, Mapping) or "storage" not in content:
        raise ConfigError(f"{name} has no table 'storage'")
    return Source(str(path), content)


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError(
            'a YAML config needs PyYAML: run: pip install "statekeep[yaml]", or write TOML or JSON'
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_yaml_problem(error)) from None
    except yaml.YAMLError as error:  # a character that YAML does not allow; nothing else is quoted
        raise ValueError(str(error)) from None
    except (ValueError, LookupError, AttributeError):  # of a value that is not what its tag says
        raise ValueError("a value does not fit its tag or its form, such as a date's") from None


def _yaml_problem(error: Any) -> str:
    """What is wrong where, without the line, the tag or the alias: any may be a password."""
    problem = QUOTED_BY_YAML.sub(r"\1", error.problem or "it is no YAML")
    mark = error.problem_mark
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem


PARSERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".json": json.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}


def _from_url(url: str, find: FindBackend) -> Source:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its message may quote a part of the password
        raise ConfigError(
            "the URL cannot be parsed: it must look like scheme://user:password@host:port/database "
            "with a port from 0 to 65535, and / @ : in user or password percent-encoded"
        ) from None
    plugin = find(parts.scheme.replace("-", "_").replace("+", "_"))
    options = dict((plugin.read_url or server_options)(parts))
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    storage: dict[str, Any] = {name: query.pop(name) for name in STORAGE_OPTIONS if name in query}
    return Source(f"the {parts.scheme} URL", {"storage": {**storage, plugin.name: options | query}})


def server_options(parts: SplitResult) -> dict[str, Any]:
    """Host, port, username, password and database of `scheme://user:pw@host:port/database`."""
    found = {
        "host": parts.hostname,
        "port": parts.port,
        "username": None if parts.username is None else unquote(parts.username),
        "password": None if parts.password is None else unquote(parts.password),
        "database": unquote(parts.path.lstrip("/")),
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _filled_in(content: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    missing: list[str] = []

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, str):
            return VARIABLE.sub(lambda match: replace(match, path), value)
        if isinstance(value, Mapping):
            return {name: walk(each, f"{path}.{name}") for name, each in value.items()}
        if isinstance(value, list):
            return [walk(each, f"{path}[{index}]") for index, each in enumerate(value)]
        return value

    def replace(match: re.Match[str], path: str) -> str:
        name, default = match.groups()
        if name is None:
            return "${"
        found = os.environ.get(name, default)
        if found is None:
            missing.append(f"{path}: environment variable {name} is not set ({source})")
            return ""
        return found

    top = "storage" if "storage" in content else None
    filled = {**content, top: walk(content[top], top)} if top else walk(content, "storage")
    if missing:
        raise ConfigError(missing)
    return dict(filled)
