"""Where the file is: paths, `file:` URIs and `sqlite:` URLs, all without touching the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from attrs import field, frozen
from statekeep.errors import ConfigError

MEMORY = 'nothing in it would be kept or shared; for state in memory use backend "memory"'
PARAMETERS = ("mode", "cache", "vfs", "psow", "immutable")
MODES = ("ro", "rw", "rwc")


@frozen
class Location:
    """A database file.

    Attributes:
        path: absolute, so that a later change of the working directory changes nothing.
        read_only: the path was a URI that says `mode=ro` or `immutable=1`.
        create: False where it was a URI that says `mode=rw`.
        parameters: the other parameters of the URI, handed on to SQLite.
    """

    path: str
    read_only: bool = False
    create: bool = True
    parameters: dict[str, str] = field(factory=dict)

    def uri(self, mode: str, **more: str) -> str:
        """What SQLite opens."""
        query = urlencode({"mode": mode, **self.parameters, **more})
        return f"{Path(self.path).as_uri()}?{query}"


def locate(path: str) -> Location:
    """The location that a path or `file:` URI names; `path_problem` has nothing against it."""
    if not path.startswith("file:"):
        return Location(_absolute(path))
    parts = urlsplit(path)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    mode = parameters.pop("mode", "rwc")
    parameters.pop("cache", None)
    return Location(
        _absolute(unquote(parts.path)),
        read_only=mode == "ro" or parameters.get("immutable") == "1",
        create=mode == "rwc",
        parameters=parameters,
    )


def path_problem(path: str) -> str | None:
    """What is wrong with a path or `file:` URI, or None."""
    if path in ("", ":memory:") or path.startswith("file::memory:"):
        return f"must name a file: {MEMORY}"
    if "\0" in (unquote(path) if path.startswith("file:") else path):
        return "must not contain NUL"
    if path.startswith("file:"):
        return _uri_problem(path)
    try:
        Path(path).expanduser()
    except RuntimeError:
        return "begins with the home directory of a user who is not known"
    return None


def read_url(parts: SplitResult) -> dict[str, Any]:
    """The path of `sqlite:///relative.db`, `sqlite:////absolute.db` or `sqlite:relative.db`.

    The three slashes are SQLAlchemy's convention.
    """
    if parts.netloc:
        raise ConfigError(
            f"a sqlite URL has no host, got {parts.hostname!r}: write sqlite:///relative.db or "
            "sqlite:////absolute/path.db"
        )
    path = unquote(parts.path)
    return {"path": path[1:] if path.startswith("/") else path}


def _uri_problem(uri: str) -> str | None:
    parts = urlsplit(uri)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parameters.get("mode") == "memory" or not parts.path:
        return f"must name a file: {MEMORY}"
    if parts.netloc not in ("", "localhost"):
        return f"must not name a host, write file:///{parts.path.lstrip('/')}"
    unknown = [name for name in parameters if name not in PARAMETERS]
    if unknown:
        return f"must have no parameters but {', '.join(PARAMETERS)} (not {', '.join(unknown)})"
    if parameters.get("cache", "private") != "private":
        return "must not share its cache: writers would block readers"
    if parameters.get("mode", "ro") not in MODES:
        return f"must have a mode of {', '.join(MODES)}"
    if parameters.get("immutable") == "1" and parameters.get("mode") != "ro":
        return "must have mode=ro where it has immutable=1"
    return None


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
