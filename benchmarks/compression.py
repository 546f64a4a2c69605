"""What compressors save and cost: by size of the value, and for small values with a dictionary."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import airportsdata
from attrs import frozen
from isal import isal_zlib
from statekeep.compressor import Compressor, Trainable
from statekeep.registry import default_registry
from zlib_ng import zlib_ng

from benchmarks.envelope import SIZES
from benchmarks.harness import Comparison, Side, Workshop, calls
from benchmarks.workload import state

GZIP = 31
"""`wbits` of the gzip format."""

DICTIONARY_BYTES = 16_384
TRAINED_ON = 8_000
MEASURED = 2_000
STEPS = ("create", "reserve", "charge", "pack", "ship", "deliver")


@frozen
class Way:
    """One way to compress and to restore, by itself: no envelope."""

    compress: Callable[[bytes], bytes]
    restore: Callable[[bytes, int], bytes]


def compressor(name: str, **options: object) -> Compressor:
    """A compressor as config makes it."""
    plugin = default_registry().compressor(name)
    return plugin.factory(plugin.config(**options))


def ways() -> dict[str, Way]:
    """Those that a user can choose, and the libraries that stand in for zlib."""
    made = {
        "lz4": compressor("lz4"),
        "lz4 level 9": compressor("lz4", level=9),
        "zstd": compressor("zstd"),
        "zstd level 9": compressor("zstd", level=9),
        "gzip level 1": compressor("gzip", level=1),
        "gzip": compressor("gzip"),
        "bzip2": compressor("bzip2"),
    }
    found = {name: Way(each.compress, each.decompress) for name, each in made.items()}
    found["isal level 2, alone"] = _module(isal_zlib, 2)
    found["zlib-ng level 6, alone"] = _module(zlib_ng, 6)
    return found


def by_size(workshop: Workshop) -> Iterator[Comparison]:
    """Each of them beside the standard library's gzip at its default level, on JSON."""
    standard = _module(zlib, 6)
    for text, size in SIZES.items():
        data = state(size)
        theirs = standard.compress(data)
        for name, way in ways().items():
            packed = way.compress(data)
            note = f"{size / len(packed):.1f} times smaller, zlib {size / len(theirs):.1f}"
            yield Comparison(
                f"compress {text}: {name}",
                Side(name, calls(way.compress, [data])),
                Side("zlib level 6", calls(standard.compress, [data])),
                note=note,
                size=size,
            )
            yield Comparison(
                f"restore {text}: {name}",
                Side(name, calls(_restorer(way, size), [packed])),
                Side("zlib", calls(_restorer(standard, size), [theirs])),
                note=note,
                size=size,
            )


def dictionaries(workshop: Workshop) -> Iterator[Comparison]:
    """zstd with a trained dictionary beside zstd without, on values that it was not trained on."""
    for what, values in (("generated states", states()), ("airports", airports())):
        found = ratios(values)
        note = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items())
        held = values[TRAINED_ON:]
        learned, plain = trained(values), compressor("zstd")
        mean = sum(map(len, held)) // len(held)
        yield Comparison(
            f"compress {what} with a dictionary",
            Side("zstd with a dictionary", calls(learned.compress, held)),
            Side("zstd", calls(plain.compress, held)),
            note=f"{mean} B each, times smaller: {note}",
        )
        yield Comparison(
            f"restore {what} with a dictionary",
            Side("zstd with a dictionary", calls(_pairs(learned), _packed(learned, held))),
            Side("zstd", calls(_pairs(plain), _packed(plain, held))),
        )


def ratios(values: Sequence[bytes]) -> dict[str, float]:
    """How many times smaller each makes the values that are held back, each by itself."""
    held = values[TRAINED_ON:]
    made = {
        "zstd with a dictionary": trained(values),
        "zstd": compressor("zstd"),
        "gzip": compressor("gzip"),
        "lz4": compressor("lz4"),
    }
    total = sum(map(len, held))
    return {
        name: total / sum(len(each.compress(value)) for value in held)
        for name, each in made.items()
    }


def trained(values: Sequence[bytes]) -> Compressor:
    """zstd with a dictionary of the first values."""
    trainer = compressor("zstd")
    assert isinstance(trainer, Trainable)
    learned = trainer.train(values[:TRAINED_ON], DICTIONARY_BYTES)
    return trainer.with_dictionary(learned.content)


def states(count: int = TRAINED_ON + MEASURED) -> list[bytes]:
    """The states of orders as JSON, about 200 bytes each."""
    source = random.Random(6)
    return [_state(source, number) for number in range(count)]


def airports(count: int = TRAINED_ON + MEASURED) -> list[bytes]:
    """Airports of the world as JSON, about 210 bytes each: real data, shipped by airportsdata."""
    found = [json.dumps(each).encode() for each in airportsdata.load().values()]
    random.Random(6).shuffle(found)
    return found[:count]


def _state(source: random.Random, number: int) -> bytes:
    return json.dumps(
        {
            "workflow": "order",
            "id": f"order/{number:08d}",
            "status": source.choice(("running", "waiting", "completed", "failed")),
            "step": source.choice(STEPS),
            "attempt": source.randrange(1, 4),
            "customer": f"customer/{source.randrange(100_000)}",
            "total": source.randrange(100, 100_000) / 100,
            "paid": source.random() < 0.5,
            "updated": f"2026-01-{source.randrange(1, 29):02d}T12:{source.randrange(60):02d}:00Z",
        }
    ).encode()


def _module(zlib_like: Any, level: int) -> Way:
    """A module with the interface of zlib."""

    def restore(data: bytes, size: int) -> bytes:
        restored: bytes = zlib_like.decompressobj(GZIP).decompress(data, size + 1)
        return restored

    def compress(data: bytes) -> bytes:
        packed: bytes = zlib_like.compress(data, level, GZIP)
        return packed

    return Way(compress, restore)


def _restorer(way: Way, size: int) -> Callable[[bytes], bytes]:
    return lambda packed: way.restore(packed, size)


def _packed(made: Compressor, values: Sequence[bytes]) -> list[tuple[bytes, int]]:
    return [(made.compress(value), len(value)) for value in values]


def _pairs(made: Compressor) -> Callable[[tuple[bytes, int]], bytes]:
    return lambda pair: made.decompress(*pair)
