"""What OpenTelemetry's semantic conventions for database clients ask for, in our terms."""

from __future__ import annotations

from statekeep import __version__
from statekeep.backend import Target

NAME = "statekeep"
VERSION = __version__
SCHEMA = "https://opentelemetry.io/schemas/1.38.0"
"""The version of the conventions that the names are of."""

DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""The advice for `db.client.operation.duration`, in seconds; an application's view may differ."""


def attributes_of(target: Target) -> dict[str, str | int]:
    """What every span and every duration of a storage has."""
    given = {
        "db.system.name": target.system,
        "server.address": None if _is_file(target) else target.address,
        "server.port": target.port,
        "db.namespace": target.address if _is_file(target) else target.namespace,
    }
    return {name: value for name, value in given.items() if value is not None}


def label_of(target: Target) -> str:
    """The `{target}` in a span's name: the namespace, else the server, else nothing."""
    if target.namespace is not None or target.address is None:
        return target.namespace or ""
    return target.address if target.port is None else f"{target.address}:{target.port}"


def _is_file(target: Target) -> bool:
    """An embedded database has no server: what it names is the database itself."""
    return target.port is None and target.namespace is None
