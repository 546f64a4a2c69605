"""`dictionary train`: learns what stored values have in common, so that small ones shrink."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from attrs import frozen

from statekeep import validate
from statekeep.cli.call import Call, command, group
from statekeep.cli.exits import No
from statekeep.cli.listing import records
from statekeep.migration.durable import replacing
from statekeep.model import KeyValueRecord, Record, RecordKind

if TYPE_CHECKING:
    from statekeep.compressor import Compressor, Trainable
    from statekeep.config import StorageConfig

app = group("dictionary", "Dictionaries that make small values smaller.")

LARGEST_SAMPLE = 16 * 1024
"""Bytes. A dictionary gains nothing on larger values, and they would only fill the memory."""

FEWEST = 50
"""Values it takes: with fewer, what is measured on those held back says nothing."""

HELD_BACK = 5
"""One of so many samples is not trained on, but measured."""


@frozen
class Sample:
    """Values at random, and how many there were to choose from.

    Attributes:
        seen: values that were looked at.
        too_large: those of them that were passed over.
        chosen: keys and values.
    """

    seen: int
    too_large: int
    chosen: list[tuple[str, bytes]]


@frozen
class Sizes:
    """What values come to when each is compressed by itself.

    Attributes:
        payload: bytes that the compressor makes of them.
        stored: bytes that are stored: with the envelope, and plain where that is shorter.
    """

    payload: int
    stored: int


def train(
    call: Call,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where to write the dictionary.")
    ],
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="PREFIX", help="Only values of keys that begin so.")
    ] = "",
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=FEWEST, help="Values to look at, at most.")
    ] = 10_000,
    size: Annotated[
        int, typer.Option("--size", metavar="BYTES", min=256, help="Of the dictionary, at most.")
    ] = 16_384,
    compressor: Annotated[
        str, typer.Option("--compressor", metavar="NAME", help="For which compressor.")
    ] = "zstd",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file: values made with it need it still.")
    ] = False,
) -> None:
    """Train a dictionary on stored values, and show what it gains on others.

    A fifth of the values is held back: the ratios are those of values it has not seen.
    """
    if out.exists() and not force:
        raise typer.BadParameter(f"{out} exists, and values may need it: take another name")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}")
    trainer = _trainer(call.load(), compressor)
    with call.storage() as storage:
        found = records(storage.backend, RecordKind.KEY_VALUE, validate.prefix(prefix), None)
        sample = _sample(found, samples)
    if len(sample.chosen) < FEWEST:
        raise No(
            f"there are {len(sample.chosen)} values of at most {LARGEST_SAMPLE} bytes under "
            f"{prefix!r}; it takes {FEWEST}"
        )
    held, learned = sample.chosen[::HELD_BACK], list(sample.chosen)
    del learned[::HELD_BACK]
    trained = trainer.train([value for _, value in learned], size)
    before = _sizes(held, trainer.with_dictionary(None), compressor)
    after = _sizes(held, trainer.with_dictionary(trained.content), compressor)
    if after.stored >= before.stored:
        raise No(
            f"a dictionary gains nothing on these values: {before.stored} bytes without it, "
            f"{after.stored} with it; nothing was written"
        )
    _write(out, trained.content)
    bytes_ = sum(len(value) for _, value in held)
    call.out.record(
        {
            "dictionary": str(out),
            "id": trained.id,
            "size": len(trained.content),
            "values": sample.seen,
            "too_large": sample.too_large,
            "trained_on": len(learned),
            "held_back": len(held),
            "held_back_bytes": bytes_,
            "ratio_before": round(bytes_ / before.payload, 2),
            "ratio_after": round(bytes_ / after.payload, 2),
            "stored_ratio_before": round(bytes_ / before.stored, 2),
            "stored_ratio_after": round(bytes_ / after.stored, 2),
        }
    )


def _trainer(config: StorageConfig, name: str) -> Trainable:
    """The compressor, with its options in the config where it is there."""
    from statekeep.compressor import Trainable
    from statekeep.registry import default_registry

    plugin = default_registry().compressor(name)
    given = None if config.compression is None else config.compression.compressor
    made = plugin.factory(given if type(given) is plugin.config else plugin.config())
    if not isinstance(made, Trainable):
        raise typer.BadParameter(f"compressor {name!r} has no dictionaries; zstd has")
    return made


def _sample(found: Iterable[Record], most: int) -> Sample:
    """Values with equal chances, in one pass and bounded memory (Vitter's algorithm R, 1985)."""
    source = random.Random(0)
    chosen: list[tuple[str, bytes]] = []
    seen = fitting = 0
    for record in found:
        assert isinstance(record, KeyValueRecord)
        seen += 1
        if not 0 < len(record.entry.value) <= LARGEST_SAMPLE:
            continue
        fitting += 1
        place = fitting - 1 if fitting <= most else source.randrange(fitting)
        if place < most:
            chosen[place : place + 1] = [(record.key, record.entry.value)]
    source.shuffle(chosen)
    return Sample(seen, seen - fitting, chosen)


def _sizes(held: Iterable[tuple[str, bytes]], compressor: Compressor, name: str) -> Sizes:
    from statekeep import envelope

    head = envelope.prefix(name)
    payload = stored = 0
    for key, value in held:
        payload += len(compressor.compress(value))
        stored += len(envelope.wrap_compressed(key, value, head, compressor))
    return Sizes(payload, stored)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and on disk before anything can be written with it."""
    with replacing(path) as file:
        file.write(content)
        Path(file.name).chmod(0o644)


command(app, "train")(train)
