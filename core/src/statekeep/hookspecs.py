"""The four hooks by which a plugin offers what it has. Importing this imports no plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import SplitResult

import pluggy
from attrs import frozen

if TYPE_CHECKING:
    from statekeep.backend import Backend
    from statekeep.cache import Cache
    from statekeep.compressor import Compressor
    from statekeep.observer import Observer
    from statekeep.servers import Server

PROJECT = "statekeep"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

UrlReader: TypeAlias = "Callable[[SplitResult], Mapping[str, Any]]"


@frozen(kw_only=True)
class BackendPlugin:
    """A backend on offer.

    Attributes:
        name: what `backend = "..."` and its table in the config say.
        config: an attrs class with the backend's options (see `statekeep.options`).
        factory: makes the backend from its config, without touching the store.
        aliases: other names of the table and schemes of the URL.
        read_url: the options that a URL states; the default reads host, port, username,
            password and database from where URLs have them.
        envelopes: whether values are kept in envelopes (`statekeep.envelope`), compressed as the
            config says; False where the store is another program's, whose values are handed out
            as they are.
        servers: where its servers are, from its config, for `statekeep doctor`; an embedded
            backend has none, and a plugin may leave it out.
    """

    name: str
    config: type
    factory: Callable[[Any], Backend]
    aliases: tuple[str, ...] = ()
    read_url: UrlReader | None = None
    envelopes: bool = True
    servers: Callable[[Any], Sequence[Server]] | None = None


@frozen(kw_only=True)
class CompressorPlugin:
    """A compressor on offer; `name` is what is stored beside every value that it made."""

    name: str
    config: type
    factory: Callable[[Any], Compressor]


@frozen(kw_only=True)
class CachePlugin:
    """A cache on offer; the factory makes one cache, and is called once for each kind."""

    name: str
    config: type
    factory: Callable[[Any], Cache]


@frozen(kw_only=True)
class ObserverPlugin:
    """An observer on offer; the factory makes one for each storage."""

    name: str
    config: type
    factory: Callable[[Any], Observer]


@hookspec
def statekeep_backends() -> list[BackendPlugin]:  # type: ignore[empty-body]  # only a signature
    """The backends that this plugin offers."""


@hookspec
def statekeep_compressors() -> list[CompressorPlugin]:  # type: ignore[empty-body]  # likewise
    """The compressors that this plugin offers."""


@hookspec
def statekeep_caches() -> list[CachePlugin]:  # type: ignore[empty-body]  # likewise
    """The caches that this plugin offers."""


@hookspec
def statekeep_observers() -> list[ObserverPlugin]:  # type: ignore[empty-body]  # likewise
    """The observers that this plugin offers."""
