"""Config and plugins to a storage: the one place that says in which order layers lie."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from statekeep.backend import Backend
from statekeep.compressor import Compressor
from statekeep.config import CacheConfig, CompressionConfig, StorageConfig
from statekeep.errors import PluginError
from statekeep.layers.caching import CachingLayer
from statekeep.layers.compression import CompressionLayer
from statekeep.layers.metrics import MetricsLayer
from statekeep.layers.observing import ObservedLayer, ObservingLayer
from statekeep.metrics import Recorder
from statekeep.observer import CallObserver
from statekeep.registry import Registry, default_registry
from statekeep.storage import Storage


def compose(config: StorageConfig, registry: Registry | None = None) -> Storage:
    """Opens the storage that a config describes.

    Raises:
        PluginError: a config object belongs to no installed plugin.
        StorageError: the backend could not be opened; what was opened is closed again.
    """
    recorder = Recorder()
    backend = assemble(config, registry, recorder)
    try:
        backend.setup()
        return Storage(backend, recorder)
    except BaseException:
        backend.close()
        raise


def assemble(
    config: StorageConfig, registry: Registry | None = None, recorder: Recorder | None = None
) -> Backend:
    """The layers over the backend, top to bottom; nothing is opened yet."""
    registry = registry or default_registry()
    recorder = recorder or Recorder()
    plugin = registry.offering(registry.backends, config.backend)
    backend: Backend = plugin.factory(config.backend)
    try:
        if plugin.envelopes:
            backend = _compressed(backend, config.compression, registry)
        cached = _cached(backend, config.cache, registry)
        return _observed(MetricsLayer(cached, recorder), config, registry)
    except BaseException:
        backend.close()
        raise


def _compressed(backend: Backend, config: CompressionConfig | None, registry: Registry) -> Backend:
    capabilities = backend.capabilities
    if config is None and not capabilities.durable and not capabilities.shared:
        return backend  # what only this process holds needs no envelope
    find = _finder(registry, config)
    for reader in () if config is None else config.readers:
        find(registry.offering(registry.compressors, reader).name)  # a bad one is found at once
    if config is None or config.compressor is None:
        return CompressionLayer(backend, find, name="", min_size=0)
    plugin = registry.offering(registry.compressors, config.compressor)
    return CompressionLayer(backend, find, plugin.name, config.min_size)


def _finder(registry: Registry, config: CompressionConfig | None) -> Callable[[str], Compressor]:
    """Compressors by name: those in the config as configured, any other with its defaults."""
    configured = () if config is None else (config.compressor, *config.readers)

    @cache
    def find(name: str) -> Compressor:
        plugin = registry.compressor(name)
        options = next((each for each in configured if type(each) is plugin.config), None)
        try:
            return plugin.factory(plugin.config() if options is None else options)
        except ImportError as error:
            raise PluginError(f"compressor {name!r} cannot be loaded: {error}") from error

    return find


def _cached(backend: Backend, config: CacheConfig | None, registry: Registry) -> Backend:
    if config is None or (config.key_value is None and config.key_set is None):
        return backend
    values, sets = (
        None if options is None else registry.offering(registry.caches, options).factory(options)
        for options in (config.key_value, config.key_set)
    )
    return CachingLayer(backend, values, sets)


def _observed(backend: Backend, config: StorageConfig, registry: Registry) -> Backend:
    if not config.observers:
        return backend
    observers = [
        registry.offering(registry.observers, options).factory(options)
        for options in config.observers
    ]
    name = registry.offering(registry.backends, config.backend).name
    told = any(isinstance(each, CallObserver) for each in observers)
    return (ObservingLayer if told else ObservedLayer)(backend, observers, name)
