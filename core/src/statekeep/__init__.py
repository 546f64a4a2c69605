"""statekeep: durable, versioned state in the database you already run.

    with statekeep.open("statekeep.toml") as storage:
        version = storage.values.put("order/42", b"paid", expected=0)

Importing this imports no plugin and no driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from statekeep.backend import (
    AtomicScope,
    Backend,
    BackendStats,
    Capabilities,
    KindStats,
    Target,
)
from statekeep.errors import (
    AccessDenied,
    Closed,
    ConfigError,
    CorruptValue,
    InvalidArgument,
    LeaseLost,
    OutcomeUnknown,
    PluginError,
    PoolTimeout,
    StorageError,
    Unavailable,
    Unsupported,
    VersionConflict,
)
from statekeep.findings import Finding, Severity
from statekeep.hookspecs import BackendPlugin, CachePlugin, CompressorPlugin, hookimpl
from statekeep.model import (
    Acknowledge,
    Add,
    Cancel,
    Check,
    Committed,
    Conflict,
    DeferredMessage,
    Delete,
    Entry,
    Extend,
    Failed,
    KeySetRecord,
    KeyValueRecord,
    Operation,
    Outcome,
    Page,
    Put,
    Record,
    RecordKind,
    Release,
    Remove,
    Restore,
    Schedule,
    Transaction,
)
from statekeep.storage import Storage
from statekeep.unit import UnitOfWork
from statekeep.usage import CallStats, CompressionStats, PoolStats, Usage

if TYPE_CHECKING:
    from statekeep import aio as aio
    from statekeep.config import StorageConfig

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Acknowledge",
    "Add",
    "AtomicScope",
    "Backend",
    "BackendPlugin",
    "BackendStats",
    "CachePlugin",
    "CallStats",
    "Cancel",
    "Capabilities",
    "Check",
    "Closed",
    "Committed",
    "CompressionStats",
    "CompressorPlugin",
    "ConfigError",
    "Conflict",
    "CorruptValue",
    "DeferredMessage",
    "Delete",
    "Entry",
    "Extend",
    "Failed",
    "Finding",
    "InvalidArgument",
    "KeySetRecord",
    "KeyValueRecord",
    "KindStats",
    "LeaseLost",
    "Operation",
    "Outcome",
    "OutcomeUnknown",
    "Page",
    "PluginError",
    "PoolStats",
    "PoolTimeout",
    "Put",
    "Record",
    "RecordKind",
    "Release",
    "Remove",
    "Restore",
    "Schedule",
    "Severity",
    "Storage",
    "StorageConfig",
    "StorageError",
    "Target",
    "Transaction",
    "Unavailable",
    "UnitOfWork",
    "Unsupported",
    "Usage",
    "VersionConflict",
    "hookimpl",
    "open",
]


def open(
    source: str | PathLike[str] | Mapping[str, Any] | StorageConfig | None = None,
    **overrides: Any,
) -> Storage:
    """Opens the storage that a config describes, and creates in it what is missing.

    Args:
        source: the path of a TOML, YAML or JSON file; a URL such as `sqlite:///state.db`; a
            mapping; a `StorageConfig`; or None for `STATEKEEP_CONFIG`, `STATEKEEP_URL`,
            `./statekeep.toml`, and last SQLite in `./statekeep.db`.
        overrides: options that replace those of the source, such as `compression="gzip"` or
            `sqlite={"busy_timeout": 1000}`.

    Returns:
        A storage to be closed, or used as a context manager.

    Raises:
        ConfigError: the config is wrong; every problem is named.
        PluginError: a named backend, compressor or cache is not installed or broken.
        Unavailable: the store does not answer.
        AccessDenied: the store refuses the credentials.
    """
    from statekeep.compose import compose
    from statekeep.config import load

    return compose(load(source, overrides))


def __getattr__(name: str) -> Any:
    if name == "StorageConfig":
        from statekeep.config import StorageConfig

        return StorageConfig
    if name == "aio":  # not before it is asked for: asyncio takes long to import
        return import_module("statekeep.aio")
    raise AttributeError(f"module 'statekeep' has no attribute {name!r}")
