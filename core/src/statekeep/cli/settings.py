"""A checked config as plain data and as TOML, secrets masked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

from statekeep.config import CompressionConfig, StorageConfig, masked
from statekeep.registry import Registry


def settings(config: StorageConfig, registry: Registry) -> dict[str, Any]:
    """The table `storage` that means this config, defaults included; None where nothing is set."""
    backend = registry.offering(registry.backends, config.backend).name
    found: dict[str, Any] = {"backend": backend, backend: masked(config.backend)}
    if config.compression is not None:
        found["compression"] = _compression(config.compression, registry)
    if config.cache is not None:
        kinds = {"key_value": config.cache.key_value, "key_set": config.cache.key_set}
        given = {kind: options for kind, options in kinds.items() if options is not None}
        names = {registry.offering(registry.caches, each).name for each in given.values()}
        found["cache"] = {"type": ", ".join(names)}
        found["cache"] |= {kind: masked(options) for kind, options in given.items()}
    if config.observers:
        found["observers"] = {
            registry.offering(registry.observers, options).name: masked(options)
            for options in config.observers
        }
    return {name: _plain(value) for name, value in found.items()}


def as_toml(found: Mapping[str, Any]) -> str:
    """The table as a config file would have it; what is not set is left out."""
    return "\n".join(_table("storage", found)).strip()


def _compression(config: CompressionConfig, registry: Registry) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "none"}
    if config.compressor is not None:
        name = registry.offering(registry.compressors, config.compressor).name
        found = {"name": name, "min_size": config.min_size, **masked(config.compressor)}
    if config.readers:
        found["readers"] = {
            registry.offering(registry.compressors, reader).name: masked(reader)
            for reader in config.readers
        }
    return found


def _table(path: str, content: Mapping[str, Any]) -> list[str]:
    lines = [f"[{path}]"]
    for name, value in content.items():
        if value is not None and not isinstance(value, Mapping):
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False)}")
    for name, value in content.items():
        if isinstance(value, Mapping):
            lines += ["", *_table(f"{path}.{name}", value)]
    return lines


def _plain(value: Any) -> Any:
    """What JSON and TOML can hold."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(masked(each)) for each in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
