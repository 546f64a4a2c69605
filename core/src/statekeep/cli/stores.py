"""Two stores for one command: `--from` and `--to`, each a config file or a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer
from attrs import evolve, frozen

from statekeep.cli.call import Call
from statekeep.cli.exits import No
from statekeep.cli.listing import KINDS, Kind
from statekeep.migration import EVERYTHING, Pair, Selection

if TYPE_CHECKING:
    from statekeep.backend import Backend
    from statekeep.config import StorageConfig

PLACE = frozenset(
    [
        "host",
        "port",
        "unix_socket",
        "sentinels",
        "master_name",
        "nodes",
        "database",
        "schema",
        "path",
        "prefix",
    ]
)
"""Options that say where a store is; so do those that name a table. Others may change between two
runs: they say how it is reached."""

From = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="FILE|URL",
        envvar="STATEKEEP_FROM",
        help="The source: a config file or URL.",
        show_default=False,
    ),
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="FILE|URL",
        envvar="STATEKEEP_TO",
        help="The target: a config file or URL. Where one holds a password, name it in the "
        "environment: others see the arguments.",
        show_default=False,
    ),
]
Prefix = Annotated[
    str,
    typer.Option(
        "--prefix",
        metavar="PREFIX",
        help="Only keys, and queues, that begin so.",
        show_default=False,
    ),
]


def kinds(text: str) -> tuple[Kind, ...]:
    """`values,sets` as kinds.

    Raises:
        typer.BadParameter: one of them is none.
    """
    known = {kind.value: kind for kind in Kind}
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is no kind: say {', '.join(known)}, or several")
    return tuple(known[name] for name in names)


Kinds = Annotated[
    Any,
    typer.Option(
        "--kinds",
        metavar="KINDS",
        parser=kinds,
        help="Of values, sets, deferred, with commas between; all of them without it.",
        show_default=False,
    ),
]


def selection(prefix: str, chosen: tuple[Kind, ...] | None) -> Selection:
    """What `--prefix` and `--kinds` say."""
    if chosen is None:
        return Selection(prefix, EVERYTHING.kinds)
    return Selection(prefix, [KINDS[kind][0] for kind in chosen])


@frozen
class Stores:
    """Two open stores.

    Attributes:
        source: the one, set up.
        target: the other, not yet set up.
        pair: what a checkpoint says of them.
    """

    source: Backend
    target: Backend
    pair: Pair


@contextmanager
def stores(call: Call, source: str, target: str, chosen: Selection) -> Iterator[Stores]:
    """Opens both, past any cache.

    Raises:
        typer.BadParameter: both are the same store.
        No: the source is not there.
    """
    if call.config is not None or call.url is not None:
        raise typer.BadParameter("this command takes --from and --to, not --config or --url")
    ours, theirs = _call(call, "--from", source), _call(call, "--to", target)
    pair = Pair(place(ours.load()), place(theirs.load()), chosen)
    if pair.source == pair.target and not pair.source.startswith("memory"):
        raise typer.BadParameter(f"--from and --to are the same store: {pair.source}")
    with ours.backend(cache=False) as first, theirs.backend(cache=False) as second:
        ready(first, " at --from")
        yield Stores(first, second, pair)


def ready(backend: Backend, where: str = "") -> None:
    """Sets up a store that is only read.

    Raises:
        No: it is not there.
    """
    if missing := backend.missing():
        raise No(f"there is no store{where}: missing {missing[0]}")
    backend.setup()


def place(config: StorageConfig) -> str:
    """Where a store is, without secrets: the same text for the same store."""
    from statekeep.config import masked
    from statekeep.registry import default_registry

    registry = default_registry()
    name = registry.offering(registry.backends, config.backend).name
    options = masked(config.backend) if attrs.has(type(config.backend)) else {}
    said = {
        option: value
        for option, value in options.items()
        if option in PLACE or option.endswith("_table")
    }
    shown = [f"{option}={value}" for option, value in (said or options).items() if value]
    return " ".join([name, *shown])


def _call(call: Call, name: str, where: str) -> Call:
    from statekeep.sources import PARSERS, is_url

    if is_url(where):
        return evolve(call, config=None, url=where)
    if Path(where).suffix.lower() not in PARSERS:  # not shown: it may hold a password
        raise typer.BadParameter(
            f"{name} is neither a URL, as sqlite:///state.db, nor a config file, whose name ends "
            f"in {', '.join(sorted(PARSERS))}"
        )
    return evolve(call, config=where, url=None)
