"""From text to attrs: what to open, checked whole before anything is opened.

Every problem is found at once and says where and what:
`storage.postgres.maximum_pool_size: must be > 0, got -3 (statekeep.toml)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import attrs
from attrs import frozen

from statekeep.errors import ConfigError, PluginError
from statekeep.options import at_least, option
from statekeep.registry import PUBLISHED, Registry, Shelf, default_registry
from statekeep.sources import Source, read
from statekeep.structure import Problems, build, snake_case, table

MASK = "********"
SECTIONS = ("backend", "compression", "cache", "observers")
NO_COMPRESSION = ("none", "")
DEFAULT_CACHE = "memory"


@frozen(kw_only=True)
class CompressionConfig:
    """How new values are compressed, and what it takes to read older ones.

    Attributes:
        compressor: the config object of a compressor plugin, such as `GzipConfig(level=9)`; None
            stores new values plain.
        min_size: values with fewer bytes are stored plain.
        readers: config objects of other compressors, for what they wrote; one that is not named
            reads with its defaults. It takes them where a compressor needs more than its name to
            read, such as a dictionary.
    """

    compressor: Any
    min_size: int = option(128, "bytes below which a value is stored plain", at_least(0))
    readers: tuple[Any, ...] = ()


@frozen(kw_only=True)
class CacheConfig:
    """What is cached in this process: config objects of a cache plugin, or None for no caching."""

    key_value: Any = None
    key_set: Any = None


@frozen(kw_only=True)
class StorageConfig:
    """A complete, checked config.

    Attributes:
        backend: the config object of a backend plugin, such as `SqliteConfig(path="state.db")`.
        compression: how new values are compressed; None stores them plain.
        cache: what is cached in this process; None for nothing.
        observers: config objects of observer plugins: who watches the storage.
    """

    backend: Any
    compression: CompressionConfig | None = None
    cache: CacheConfig | None = None
    observers: tuple[Any, ...] = ()


def load(
    source: str | PathLike[str] | Mapping[str, Any] | StorageConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> StorageConfig:
    """The config that `statekeep.open` would open; nothing is opened.

    Args:
        source: see `statekeep.open`.
        overrides: options of the storage table that replace those of the source.
        registry: where to look plugins up; that of the installed ones by default.

    Raises:
        ConfigError: every problem, each with its place.
        PluginError: a plugin that the config names is not installed or is broken.
    """
    registry = registry or default_registry()
    if isinstance(source, StorageConfig):
        return _override(source, overrides or {}, registry)
    found = read(source, registry.backend)
    content = _storage_table(found)
    problems = Problems(found.name)
    merged = _merge(table(content, "storage", problems), dict(overrides or {}))
    config = _build(merged, problems, registry)
    if config is None or problems.found:
        raise ConfigError(problems.found)
    return config


def masked(config: Any) -> Any:
    """A config as plain data for showing: secrets masked, plugin options by name."""
    if not attrs.has(type(config)):
        return config
    return {
        field.name: MASK
        if field.metadata.get("secret") and getattr(config, field.name) is not None
        else masked(getattr(config, field.name))
        for field in attrs.fields(type(config))
    }


def _storage_table(found: Source) -> Any:
    return found.content.get("storage", found.content)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        before = merged.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            merged[name] = _merge(_in_snake_case(before), _in_snake_case(value))
        else:
            merged[name] = value
    return merged


def _in_snake_case(table: Mapping[Any, Any]) -> dict[str, Any]:
    return {snake_case(str(key)): each for key, each in table.items()}


def _build(content: dict[str, Any], problems: Problems, registry: Registry) -> StorageConfig | None:
    name = _backend_name(content, problems, registry)
    nested = _lift_nested_sections(content, name)
    if name is None:
        backend = None
    else:
        plugin = registry.backend(name)
        tables = [content[each] for each in (plugin.name, *plugin.aliases) if each in content]
        path = f"storage.{plugin.name}"
        if len(tables) > 1:
            problems.add(path, f"is given twice, as {' and '.join((plugin.name, *plugin.aliases))}")
        backend = build(plugin.config, tables[0] if tables else None, path, problems)
    compression = _compression(nested.get("compression"), problems, registry)
    cache = _cache(nested.get("cache"), problems, registry)
    observers = _observers(content.get("observers"), problems, registry)
    if problems.found:
        return None
    return StorageConfig(backend=backend, compression=compression, cache=cache, observers=observers)


def _backend_name(content: dict[str, Any], problems: Problems, registry: Registry) -> str | None:
    known = _known_backends(registry)
    tables = [name for name in content if name in known]
    for name in content:
        if name not in known and name not in SECTIONS:
            problems.unknown("storage", name, sorted({*known, *SECTIONS}))
    named = content.get("backend")
    if named is not None:
        if not isinstance(named, str):
            problems.add("storage.backend", f"must be the name of a backend, got {named!r}")
            return None
        return snake_case(named)
    if len(tables) == 1:
        return tables[0]
    if not tables and problems.found:
        return None
    what = (
        "no backend is named"
        if not tables
        else f"several backends have a table: {', '.join(tables)}"
    )
    problems.add("storage.backend", f"{what}; set backend to one of {', '.join(sorted(known))}")
    return None


def _known_backends(registry: Registry) -> set[str]:
    published = {name for kind, name in PUBLISHED if kind == "backend"}
    broken = {each.name for each in registry.broken}
    return {*registry.backends.by_alias, *published, *broken}


def _lift_nested_sections(content: dict[str, Any], name: str | None) -> dict[str, Any]:
    """`compression` and `cache` may stand inside the backend's table too, as in older guides."""
    sections: dict[str, Any] = {
        each: content[each] for each in ("compression", "cache") if each in content
    }
    inside = content.get(name or "")
    if isinstance(inside, Mapping):
        for section in ("compression", "cache"):
            if section in inside and section not in sections:
                sections[section] = inside[section]
                content[name or ""] = {
                    key: value for key, value in content[name or ""].items() if key != section
                }
    return sections


def _compression(value: Any, problems: Problems, registry: Registry) -> CompressionConfig | None:
    path = "storage.compression"
    options = {"name": value} if isinstance(value, str) else table(value, path, problems)
    name = options.pop("name", None) or options.pop("mode", None)
    readers = _readers(options.pop("readers", None), name, problems, registry)
    if value is None or name in NO_COMPRESSION:
        return CompressionConfig(compressor=None, readers=readers) if readers else None
    if not isinstance(name, str):
        problems.add(f"{path}.name", "must name a compressor, or be none")
        return None
    plugin = _look_up(registry, registry.compressors, name, f"{path}.name", problems)
    if plugin is None:
        return None
    ours = {each: options.pop(each) for each in ("min_size",) if each in options}
    compressor = build(plugin.config, options, path, problems)
    built: CompressionConfig | None = build(
        CompressionConfig, {"compressor": compressor, **ours}, path, problems
    )
    return None if built is None else attrs.evolve(built, readers=readers)


def _readers(value: Any, writer: Any, problems: Problems, registry: Registry) -> tuple[Any, ...]:
    path = "storage.compression.readers"
    built: list[Any] = []
    for name, options in table(value, path, problems).items():
        if name == writer:
            problems.add(f"{path}.{name}", "writes too: give its options beside its name")
            continue
        plugin = _look_up(registry, registry.compressors, name, f"{path}.{name}", problems)
        if plugin is not None:
            built.append(build(plugin.config, options, f"{path}.{name}", problems))
    return tuple(built)


def _cache(value: Any, problems: Problems, registry: Registry) -> CacheConfig | None:
    path = "storage.cache"
    options = table(value, path, problems)
    if not options:
        return None
    kind = options.pop("type", DEFAULT_CACHE)
    plugin = _look_up(registry, registry.caches, str(kind), f"{path}.type", problems)
    built: dict[str, Any] = {}
    for name, content in options.items():
        if name not in ("key_value", "key_set"):
            problems.unknown(path, name, ["key_value", "key_set", "type"])
        elif plugin is not None:
            built[name] = build(plugin.config, content, f"{path}.{name}", problems)
    return CacheConfig(**built)


def _observers(value: Any, problems: Problems, registry: Registry) -> tuple[Any, ...]:
    path = "storage.observers"
    built: list[Any] = []
    for name, options in table(value, path, problems).items():
        plugin = _look_up(registry, registry.observers, name, f"{path}.{name}", problems)
        if plugin is not None:
            built.append(build(plugin.config, options, f"{path}.{name}", problems))
    return tuple(built)


def _look_up(
    registry: Registry, shelf: Shelf[Any], name: str, path: str, problems: Problems
) -> Any:
    """A plugin that config names; one that nobody publishes is more likely a slip of the pen."""
    published = {each for kind, each in PUBLISHED if kind == shelf.kind}
    known = {*shelf.by_alias, *published, *(broken.name for broken in registry.broken)}
    if name not in known:
        problems.add(path, f"there is no {shelf.kind} {name!r}; known: {', '.join(sorted(known))}")
        return None
    return getattr(registry, shelf.kind)(name)


def _override(
    config: StorageConfig, overrides: Mapping[str, Any], registry: Registry
) -> StorageConfig:
    problems = Problems("the overrides given")
    changes: dict[str, Any] = {}
    for name, value in overrides.items():
        if name == "compression":
            changes[name] = _compression(value, problems, registry)
        elif name == "cache":
            changes[name] = _cache(value, problems, registry)
        elif name == "observers":
            changes[name] = _observers(value, problems, registry)
        else:
            problems.unknown("storage", name, ["compression", "cache", "observers"])
    if problems.found:
        raise ConfigError(problems.found)
    return attrs.evolve(config, **changes)


__all__ = ["CacheConfig", "CompressionConfig", "PluginError", "StorageConfig", "load", "masked"]
