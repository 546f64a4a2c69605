"""Compression and the cache end to end, over servers of this machine that are started for it.

A server that is not installed is left out. The way to them is the loopback, without TLS: over a
real network there is more to gain from fewer bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from typing import Any

import statekeep
from statekeep import Storage
from statekeep.layers.base import innermost

from benchmarks.caching import CACHED
from benchmarks.envelope import getter
from benchmarks.harness import Comparison, Side, Workshop, calls, faster
from benchmarks.workload import KEYS, fill, key, picks, state

INSTALL = import_module("tests.servers.install")
"""By name, because the tests are not held to strict types."""

MISSING: type[Exception] = INSTALL.Missing
SIZES = {"5 KB": 5_000, "1 MB": 1_000_000}
COMPRESSORS = ("lz4", "zstd", "gzip")
FEW = 20
"""Keys of large values."""


def end_to_end(workshop: Workshop) -> Iterator[Comparison]:
    """Put and get with a compressor, beside the same without."""
    with servers() as found:
        for server, config in found.items():
            for text, size in SIZES.items():
                for name in COMPRESSORS:
                    yield from _compressed(server, config, name, text, state(size))


def cached_over_servers(workshop: Workshop) -> Iterator[Comparison]:
    """A get that the cache answers, beside the backend's."""
    with servers() as found:
        for server, config in found.items():
            with statekeep.open(config, cache=CACHED) as storage:
                fill(storage)
                storage.values.get_many([key(number) for number in range(KEYS)])
                yield Comparison(
                    f"cached get beside the backend ({server})",
                    Side("values.get, cached", calls(storage.values.get, picks())),
                    Side("backend.get_many", calls(getter(innermost(storage.backend)), picks())),
                    faster(50),
                )


@contextmanager
def servers() -> Iterator[dict[str, dict[str, Any]]]:
    """Configs of the servers that could be started."""
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        for name, program in (("redis", "redis-server"), ("postgres", "initdb")):
            with suppress(MISSING):
                INSTALL.find(program)
                module = import_module(f"tests.servers.{name}")
                server = stack.enter_context(closing(getattr(module, f"{name.title()}Process")()))
                found[name] = {name: {"host": "127.0.0.1", "port": server.port}}
        yield found


def _compressed(
    server: str, config: dict[str, Any], name: str, text: str, value: bytes
) -> Iterator[Comparison]:
    names = picks(FEW, 1_000)
    with (
        statekeep.open(config, compression=name) as packed,
        statekeep.open(config, compression="none") as plain,
    ):
        yield Comparison(
            f"{server} put {text}: {name}",
            Side(name, calls(_putter(packed, value), [f"{name}/{each}" for each in names])),
            Side("not compressed", calls(_putter(plain, value), names)),
            size=len(value),
        )
        for number in range(FEW):
            packed.values.put(f"{name}/{key(number)}", value)
            plain.values.put(key(number), value)
        yield Comparison(
            f"{server} get {text}: {name}",
            Side(name, calls(packed.values.get, [f"{name}/{each}" for each in names])),
            Side("not compressed", calls(plain.values.get, names)),
            size=len(value),
        )


def _putter(storage: Storage, value: bytes) -> Callable[[str], int]:
    return lambda name: storage.values.put(name, value)
