"""Finds plugins by name: those that are installed, and those that a program registers itself."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import pluggy
from attrs import field, frozen

from statekeep import hookspecs
from statekeep.errors import PluginError
from statekeep.hookspecs import (
    PROJECT,
    BackendPlugin,
    CachePlugin,
    CompressorPlugin,
    ObserverPlugin,
)

P = TypeVar("P", BackendPlugin, CompressorPlugin, CachePlugin, ObserverPlugin)

PUBLISHED = MappingProxyType(
    {
        ("backend", "memory"): "statekeep-memory",
        ("backend", "in_memory"): "statekeep-memory",
        ("backend", "sqlite"): "statekeep-sqlite",
        ("backend", "redis"): "statekeep-redis",
        ("backend", "postgres"): "statekeep-postgres",
        ("backend", "postgresql"): "statekeep-postgres",
        ("backend", "mysql"): "statekeep-mysql",
        ("backend", "infinitic_redis"): "statekeep-redis",
        ("backend", "infinitic_postgres"): "statekeep-postgres",
        ("backend", "infinitic_mysql"): "statekeep-mysql",
        ("compressor", "lz4"): "statekeep-lz4",
        ("compressor", "zstd"): "statekeep-zstd",
        ("cache", "memory"): "statekeep-memory",
        ("observer", "prometheus"): "statekeep-prometheus",
        ("observer", "opentelemetry"): "statekeep-opentelemetry",
    }
)
"""The distributions of this project by what they offer, for the advice in an error."""


@frozen
class Offer(Generic[P]):
    """A plugin and the distribution that it came from."""

    plugin: P
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """The plugin's name and its aliases."""
        return tuple(dict.fromkeys((self.plugin.name, *getattr(self.plugin, "aliases", ()))))


@frozen
class Broken:
    """A plugin that could not be imported or asked, and why."""

    name: str
    source: str
    error: BaseException


@frozen
class Shelf(Generic[P]):
    """All plugins of one kind, by name and by alias.

    Attributes:
        kind: what they are.
        offers: by name, the first of that name.
        refused: those whose name was taken.
        by_alias: the name that a name or alias stands for.
        clashes: of each name that is unusable, the two distributions to choose from.
    """

    kind: str
    offers: dict[str, Offer[P]] = field(factory=dict)
    refused: list[Offer[P]] = field(factory=list)
    by_alias: dict[str, str] = field(factory=dict)
    clashes: dict[str, tuple[str, str]] = field(factory=dict)

    def put(self, plugin: P, source: str) -> None:
        """Takes an offer in.

        A name that two plugins have is unusable. Where it is the name of both, so are all aliases
        of both: an alias must not lead to the plugin that its name does not choose either.
        """
        offer: Offer[P] = Offer(plugin, source)
        for name in offer.names:
            if name in self.by_alias:
                holder = self.offers[self.by_alias[name]]
                self.clashes.setdefault(name, (holder.source, source))
        first: Offer[P] = self.offers.setdefault(plugin.name, offer)
        if first is not offer:
            self.refused.append(offer)
            for name in (*first.names, *offer.names):
                self.clashes.setdefault(name, (first.source, source))
        for name in offer.names:
            self.by_alias.setdefault(name, plugin.name)


class Registry:
    """The plugins that config may name.

    Args:
        installed: the entry points to read; tests pass their own.
    """

    def __init__(self, installed: Iterable[EntryPoint] | None = None) -> None:
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self.broken: list[Broken] = []
        self.backends: Shelf[BackendPlugin] = Shelf("backend")
        self.compressors: Shelf[CompressorPlugin] = Shelf("compressor")
        self.caches: Shelf[CachePlugin] = Shelf("cache")
        self.observers: Shelf[ObserverPlugin] = Shelf("observer")
        for entry_point in entry_points(group=PROJECT) if installed is None else installed:
            self._load(entry_point)

    def register(self, plugin: object, source: str) -> None:
        """Takes in a plugin: an object (or module) with hook implementations.

        Raises:
            PluginError: it implements a hook that does not exist.
        """
        self._manager.register(plugin)
        try:
            self._manager.check_pending()
            self._ask(plugin, source)
        except pluggy.PluginValidationError as error:
            self._manager.unregister(plugin)
            raise PluginError(f"plugin {source}: {error}") from error

    def backend(self, name: str) -> BackendPlugin:
        """The backend of this name or alias.

        Raises:
            PluginError: there is none, it is broken, or two distributions offer it.
        """
        return self._find(self.backends, name)

    def compressor(self, name: str) -> CompressorPlugin:
        """The compressor of this name; raises as `backend` does."""
        return self._find(self.compressors, name)

    def cache(self, name: str) -> CachePlugin:
        """The cache of this name; raises as `backend` does."""
        return self._find(self.caches, name)

    def observer(self, name: str) -> ObserverPlugin:
        """The observer of this name; raises as `backend` does."""
        return self._find(self.observers, name)

    def offering(self, shelf: Shelf[P], config: object) -> P:
        """The plugin whose config class this object is of.

        Raises:
            PluginError: no installed plugin has that class, or another one has its name.
        """
        for offer in (*shelf.offers.values(), *shelf.refused):
            if type(config) is offer.plugin.config:
                return self._find(shelf, offer.plugin.name)
        raise PluginError(
            f"no installed {shelf.kind} takes a {type(config).__module__}."
            f"{type(config).__qualname__}; installed: {_names(shelf)}"
        )

    def _load(self, entry_point: EntryPoint) -> None:
        source = entry_point.dist.name if entry_point.dist else entry_point.value
        try:
            self.register(entry_point.load(), source)
        except Exception as error:  # whatever a plugin does wrong must not take down the others
            self.broken.append(Broken(entry_point.name, source, error))

    def _ask(self, plugin: object, source: str) -> None:
        shelves = {f"{PROJECT}_{shelf.kind}s": shelf for shelf in self.shelves}
        for caller in self._manager.get_hookcallers(plugin) or ():
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    offers: list[Any] = list(implementation.function())  # type: ignore[call-overload]
                    for offer in offers:
                        shelves[caller.name].put(offer, source)

    @property
    def shelves(self) -> tuple[Shelf[Any], ...]:
        """What there is, by kind."""
        return (self.backends, self.compressors, self.caches, self.observers)

    def _find(self, shelf: Shelf[P], name: str) -> P:
        if name in shelf.clashes:
            first, second = shelf.clashes[name]
            raise PluginError(
                f"{shelf.kind} {name!r} is offered by both {first} and {second}: uninstall one"
            )
        if name in shelf.by_alias:
            return shelf.offers[shelf.by_alias[name]].plugin
        for broken in self.broken:
            if broken.name == name:
                raise PluginError(
                    f"{shelf.kind} {name!r} of {broken.source} cannot be loaded: "
                    f"{type(broken.error).__name__}: {broken.error}"
                ) from broken.error
        raise PluginError(self._advice(shelf, name))

    def _advice(self, shelf: Shelf[Any], name: str) -> str:
        package = PUBLISHED.get((shelf.kind, name))
        near = get_close_matches(name, shelf.by_alias, n=1)
        advice = f"run: pip install {package}; " if package else ""
        if near and not package:
            advice = f"did you mean {near[0]!r}? "
        return f"{shelf.kind} {name!r} is not installed; {advice}installed: {_names(shelf)}"


def _names(shelf: Shelf[Any]) -> str:
    return ", ".join(sorted(shelf.offers)) or "none"


@cache
def default_registry() -> Registry:
    """The registry of what is installed, made once."""
    return Registry()
