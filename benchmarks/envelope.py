"""What lies between the caller and the backend: envelope, layers, compressors."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator

import statekeep
from statekeep import Backend, Put, Storage, Transaction, envelope
from statekeep.backend import LARGE_VALUE_BYTES
from statekeep.compressor import Compressor
from statekeep.layers.base import innermost
from statekeep.registry import default_registry

from benchmarks.embedded import open_sqlite, putter
from benchmarks.harness import Comparison, Side, Workshop, calls, microseconds
from benchmarks.workload import VALUE, fill, key, picks, state

ABOUT_A_MICROSECOND = microseconds(1.5)
SIZES = {"200 B": 200, "5 KB": 5_000, "1 MB": 1_000_000}
BARE: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (
        lambda data: zlib.compress(data, 6, 31),
        lambda data: zlib.decompress(data, 31),
    ),
    "deflate": (lambda data: zlib.compress(data, 6), zlib.decompress),
    "bzip2": (bz2.compress, bz2.decompress),
}


def envelope_cost(workshop: Workshop) -> Iterator[Comparison]:
    """Wrapping and unwrapping a value of 1 KiB, beside the CRC-32 that it cannot do without."""
    name = key(1)
    stored = envelope.wrap(name, VALUE)
    crc = Side("crc32", calls(zlib.crc32, [VALUE]))
    yield Comparison(
        "envelope wrap of 1 KiB",
        Side("wrap", calls(lambda value: envelope.wrap(name, value), [VALUE])),
        crc,
        ABOUT_A_MICROSECOND,
    )
    unwrap = Side("unwrap", calls(lambda data: unwrapped(name, data), [stored]))
    yield Comparison("envelope unwrap of 1 KiB", unwrap, crc, ABOUT_A_MICROSECOND)


def layers(workshop: Workshop) -> Iterator[Comparison]:
    """The composed storage beside the backend that it ends in, called directly."""
    folder = workshop.folder_for("layers")
    with statekeep.open("memory:") as memory, open_sqlite(folder, "normal") as sqlite:
        for what, storage in (("memory", memory), ("sqlite", sqlite)):
            fill(storage)
            yield from _composed(what, storage)
    cached_folder = workshop.folder_for("cached")
    cache = {"key_value": {"maximum_size": 10_000}}
    with open_sqlite(cached_folder, "normal", cache=cache) as storage:
        fill(storage)
        yield Comparison(
            "sqlite get, cached, beside the backend",
            Side("values.get", calls(storage.values.get, picks())),
            Side("backend.get_many", calls(getter(innermost(storage.backend)), picks())),
        )


def compressors(workshop: Workshop) -> Iterator[Comparison]:
    """Envelope and compressor together, beside the compressor alone, on JSON."""
    registry = default_registry()
    for name, (compress, decompress) in BARE.items():
        plugin = registry.compressor(name)
        compressor: Compressor = plugin.factory(plugin.config())
        head = envelope.prefix(name)
        for text, size in SIZES.items():
            data = state(size)
            stored = envelope.wrap_compressed(key(1), data, head, compressor)
            packed = compress(data)
            note = f"{size / len(stored):.1f} times smaller"

            def wrap(data: bytes, head: bytes = head, compressor: Compressor = compressor) -> bytes:
                return envelope.wrap_compressed(key(1), data, head, compressor)

            def unwrap(data: bytes, compressor: Compressor = compressor) -> bytes:
                return envelope.unwrap(key(1), data, lambda _: compressor, LARGE_VALUE_BYTES)

            yield Comparison(
                f"{name} compress {text}",
                Side("wrap_compressed", calls(wrap, [data])),
                Side("compress", calls(compress, [data])),
                note=note,
                size=size,
            )
            yield Comparison(
                f"{name} decompress {text}",
                Side("unwrap", calls(unwrap, [stored])),
                Side("decompress", calls(decompress, [packed])),
                note=note,
                size=size,
            )


def unwrapped(name: str, stored: bytes) -> bytes:
    """The value in an envelope without a compressor."""
    return envelope.unwrap(name, stored, _none, LARGE_VALUE_BYTES)


def _none(name: str) -> Compressor:
    raise LookupError(name)


def _composed(what: str, storage: Storage) -> Iterator[Comparison]:
    inner = innermost(storage.backend)
    yield Comparison(
        f"{what} get, composed, beside the backend",
        Side("values.get", calls(storage.values.get, picks())),
        Side("backend.get_many", calls(getter(inner), picks())),
    )

    def commit(name: str) -> object:
        return inner.commit((Transaction((Put(name, VALUE),)),))

    yield Comparison(
        f"{what} put, composed, beside the backend",
        Side("values.put", calls(putter(storage), picks())),
        Side("backend.commit", calls(commit, picks())),
    )


def getter(backend: Backend) -> Callable[[str], object]:
    """Reads of one key."""
    return lambda name: backend.get_many((name,))
